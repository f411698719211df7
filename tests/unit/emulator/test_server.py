import time

import httpx
import pytest

from greennode_emulator.server import running
from greennode_emulator.settings import Settings


def test_a_server_starts_in_well_under_a_second_and_ends_with_its_block():
    started = time.monotonic()
    with running() as server:
        assert time.monotonic() - started < 0.8
        url = f"{server.root_url}/_emulator/health"
        assert server.base_url == f"{server.root_url}/v1"
        assert httpx.get(url, trust_env=False).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_every_server_has_its_own_key_and_none_shows_it():
    with running() as one, running() as other:
        assert one.api_key != other.api_key
        assert one.api_key not in repr(one)
    assert "secret" not in repr(Settings(api_keys=("secret",)))


def test_any_of_several_keys_opens():
    with running(Settings(api_keys=("one", "two"))) as server:
        for key, status in (("one", 200), ("two", 200), ("three", 401)):
            headers = {"authorization": f"Bearer {key}"}
            reply = httpx.get(f"{server.base_url}/models", headers=headers, trust_env=False)
            assert reply.status_code == status


def test_a_stopped_server_goes_on_with_its_batches_at_the_next_start(tmp_path, caller, body, jsonl):
    settings = Settings(state=tmp_path, api_keys=("key",), batch_seconds=0.6)
    bodies = {f"r{row}": body(str(row)) for row in range(500)}
    with running(settings) as server:
        batch_id = type(caller)(server).start(jsonl(bodies))
    with running(settings) as server:
        again = type(caller)(server)
        batch = again.wait(batch_id)
        assert batch["request_counts"]["completed"] == 500
        assert server.ledger()["requests"] == dict.fromkeys(bodies, 1)
