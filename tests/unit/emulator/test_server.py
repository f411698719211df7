import http.client
import logging

import httpx
import pytest

from greennode_emulator.server import running
from greennode_emulator.settings import Settings


def test_a_server_answers_at_once_and_ends_with_its_block():
    with running() as server:
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


def test_a_stopped_server_goes_on_with_its_batches_at_the_next_start(tmp_path, caller, clock, body, jsonl):
    settings = Settings(state=tmp_path, api_keys=("key",), batch_seconds=0.2, clock=clock)
    bodies = {f"r{row}": body(str(row)) for row in range(500)}
    with running(settings) as server:
        before = type(caller)(server)
        batch_id = before.start(jsonl(bodies))
        clock.advance(0.1001)
        before.wait(batch_id, {"in_progress"}, completed=250)
    clock.advance(5)
    with running(settings) as server:
        again = type(caller)(server)
        batch = again.wait(batch_id)
        assert batch["request_counts"]["completed"] == 500
        assert server.ledger()["requests"] == dict.fromkeys(bodies, 1)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "timeout"}, None),
        ({"kind": "timeout", "done": True}, None),
        ({"kind": "slow", "seconds": 3600}, 200),
        ({"kind": "slow", "bytes_per_second": 1}, 200),
    ],
)
def test_a_hanging_call_does_not_hold_the_server_up_and_is_never_answered_with_an_error(
    caller, begin, until, caplog, fault, outcome
):
    with running() as server:
        server.faults([fault | {"endpoint": "GET /models"}])
        call = begin(type(caller)(server).http, "GET", "/models")
        until(lambda: "GET /models" in server.ledger(summary=True)["calls"])
    # The server has stopped; the call itself would take longer than any test may.
    try:
        reply = call.getresponse()
        assert reply.read()
        assert reply.status == outcome
    except http.client.RemoteDisconnected:
        assert outcome is None
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "fault", [{"kind": "timeout"}, {"kind": "timeout", "done": True}, {"kind": "slow", "seconds": 3600}]
)
def test_a_hanging_call_is_let_go_when_its_client_goes_away(caller, emulator, begin, until, caplog, fault):
    emulator.faults([fault | {"endpoint": "GET /models"}])
    with caplog.at_level(logging.DEBUG, "greennode_emulator.gate"):
        call = begin(caller.http, "GET", "/models")
        until(lambda: "GET /models" in emulator.ledger(summary=True)["calls"])
        call.close()
        # The line that the gate writes at the end of every call.
        until(lambda: any("GET /v1/models" in record.getMessage() for record in caplog.records))
