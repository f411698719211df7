import logging
import threading
import time

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


class Hanging:
    """A call of its own thread, begun by the time that this returns; `outcome` is a status or an error."""

    def __init__(self, server):
        self.outcome = None
        self._server = server
        self._thread = threading.Thread(target=self._call)
        self._thread.start()
        deadline = time.monotonic() + 60
        while "GET /models" not in server.ledger(summary=True)["calls"]:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def _call(self):
        headers = {"authorization": f"Bearer {self._server.api_key}"}
        try:
            reply = httpx.get(f"{self._server.base_url}/models", headers=headers, trust_env=False, timeout=30)
            self.outcome = reply.status_code
        except httpx.TransportError as error:
            self.outcome = type(error)

    def end(self):
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.outcome


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "timeout"}, httpx.RemoteProtocolError),
        ({"kind": "timeout", "done": True}, httpx.RemoteProtocolError),
        ({"kind": "slow", "seconds": 60}, 200),
        ({"kind": "slow", "bytes_per_second": 1}, 200),
    ],
)
def test_a_hanging_call_does_not_hold_the_server_up_and_is_never_answered_with_an_error(caplog, fault, outcome):
    with running() as server:
        server.faults([fault | {"endpoint": "GET /models"}])
        call = Hanging(server)
        assert call.outcome is None
        stopped = time.monotonic()
    # The call itself would take a minute, or for ever.
    assert time.monotonic() - stopped < 20
    assert call.end() == outcome
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "fault", [{"kind": "timeout"}, {"kind": "timeout", "done": True}, {"kind": "slow", "seconds": 60}]
)
def test_a_hanging_call_is_let_go_when_its_client_goes_away(caller, emulator, caplog, fault):
    emulator.faults([fault | {"endpoint": "GET /models"}])
    caller.http.timeout = 0.2
    with caplog.at_level(logging.DEBUG, "greennode_emulator.gate"):
        with pytest.raises(httpx.ReadTimeout):
            caller.http.get("/models")
        deadline = time.monotonic() + 60
        # The line that the gate writes at the end of every call.
        while not any("GET /v1/models" in record.getMessage() for record in caplog.records):
            assert time.monotonic() < deadline
            time.sleep(0.005)
