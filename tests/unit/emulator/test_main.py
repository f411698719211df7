import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from greennode_emulator.__main__ import KEY_VARIABLE, main, parse_arguments
from greennode_emulator.chat_latency import Latency
from greennode_emulator.faults.kinds import read_scenario
from greennode_emulator.server import RunningEmulator, running
from greennode_emulator.settings import DEFAULT_MODELS, Settings
from greennode_emulator.store import Store

# Whole programs run here: part of `make test`, not of `make unit`.
pytestmark = pytest.mark.slow


class Process:
    """The emulator as a process of its own."""

    def __init__(self, *arguments, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "greennode_emulator", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def served(self, api_key):
        """Its address, once it answers."""
        base_url = self.process.stdout.readline().split()[-1]
        root_url = base_url.removesuffix("/v1")
        port = int(root_url.rpartition(":")[2])
        socket.create_connection(("127.0.0.1", port), timeout=120).close()
        return RunningEmulator(root_url, base_url, api_key)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_a_killed_server_goes_on_after_its_restart_and_bills_nothing_twice(tmp_path, caller, body, jsonl):
    arguments = ("--port", "0", "--api-key", "key", "--state", str(tmp_path), "--batch-seconds", "1.8")
    bodies = {f"r{row}": body(str(row)) for row in range(2000)}
    with Process(*arguments) as first:
        before = type(caller)(first.served("key"))
        batch_id = before.start(jsonl(bodies))
        while before.http.get(f"/batches/{batch_id}").json()["request_counts"]["completed"] < 300:
            time.sleep(0.01)
        first.process.send_signal(signal.SIGKILL)
    with Process(*arguments) as second:
        after = type(caller)(second.served("key"))
        batch = after.wait(batch_id)
        assert batch["status"] == "completed"
        assert batch["request_counts"] == {"total": 2000, "completed": 2000, "failed": 0}
        lines = after.lines(batch["output_file_id"])
        assert sorted(line["custom_id"] for line in lines) == sorted(bodies)
        assert after.server.ledger()["requests"] == dict.fromkeys(bodies, 1)
        assert after.server.ledger()["calls"]["POST /batches"] == 1


def test_without_a_key_one_is_made_and_printed_and_sigterm_ends_it_well(caller):
    with Process("--port", "0", "--models", "a,b", **{KEY_VARIABLE: ""}) as emulator:
        server = emulator.served("")
        key = emulator.process.stdout.readline().removeprefix("API key: ").strip()
        assert len(key) > 20
        client = type(caller)(RunningEmulator(server.root_url, server.base_url, key))
        assert [model["id"] for model in client.http.get("/models").json()["data"]] == ["a", "b"]
        emulator.process.terminate()
        assert emulator.process.wait(120) == 0
        assert emulator.process.stderr.read() == ""


def test_the_key_of_the_environment_is_used_and_not_shown(caller):
    with Process("--port", "0", "--log-level", "debug", **{KEY_VARIABLE: "very-secret"}) as emulator:
        client = type(caller)(emulator.served("very-secret"))
        assert client.http.get("/models").status_code == 200
        emulator.process.terminate()
        out, err = emulator.process.communicate(timeout=120)
        assert "GET /v1/models 200" in err
        assert "very-secret" not in out + err


def test_a_scenario_is_armed_from_the_start_and_after_a_reset(tmp_path):
    scenario = tmp_path / "bad-day.json"
    scenario.write_text('[{"kind": "expired", "count": 2}]')
    faults = read_scenario(parse_arguments(["--faults", str(scenario)]).faults)
    with running(Settings(faults=faults)) as server:
        server.disarm()
        assert server.armed() == []
        server.reset()
        assert [(fault["kind"], fault["count"]) for fault in server.armed()] == [("expired", 2)]


def test_faults_of_the_command_line_come_behind_those_of_a_scenario(tmp_path):
    scenario = tmp_path / "bad-day.json"
    scenario.write_text('[{"kind": "expired"}]')
    faults = ("--fault", '{"kind": "swapped_file", "count": null}', "--fault", '{"kind": "bom"}')
    with Process("--port", "0", "--api-key", "key", "--faults", str(scenario), *faults) as emulator:
        armed = emulator.served("key").armed()
    assert [(fault["kind"], fault["count"]) for fault in armed] == [("expired", 1), ("swapped_file", None), ("bom", 1)]


def test_a_fault_of_the_command_line_that_cannot_be_used_is_said_clearly(capsys):
    assert main(["--port", "0", "--fault", '{"kind": "expird"}']) == 1
    assert "cannot use the fault" in capsys.readouterr().err


def test_a_scenario_that_cannot_be_used_is_said_clearly(tmp_path, capsys):
    scenario = tmp_path / "bad-day.json"
    scenario.write_text('[{"kind": "expird"}]')
    assert main(["--port", "0", "--faults", str(scenario)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "bad-day.json: Invalid value 'expird'" in error


def test_a_port_that_is_taken_is_said_clearly():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Process("--port", str(port)) as emulator:
            assert emulator.process.wait(120) == 1
            error = emulator.process.stderr.read()
    assert error.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in error


def test_a_state_folder_in_use_is_said_clearly(tmp_path):
    holder = Store(tmp_path)
    with Process("--port", "0", "--api-key", "k", "--state", str(tmp_path)) as emulator:
        assert emulator.process.wait(120) == 1
        assert "in use by another emulator" in emulator.process.stderr.read()
    holder.close()


def test_the_defaults_are_the_documented_ones():
    options = parse_arguments([])
    assert (options.host, options.port, options.dialect) == ("127.0.0.1", 8089, "openai")
    assert options.batch_seconds == 2
    assert options.models == ",".join(DEFAULT_MODELS)


def test_live_answers_have_options_of_their_own(capsys):
    options = parse_arguments(["--no-batches", "--chat-latency", "lognormal:0.5,0.6", "--chat-tokens-per-minute", "9"])
    assert (options.no_batches, options.chat_tokens_per_minute, options.chat_requests_per_minute) == (True, 9, None)
    assert options.chat_latency == Latency(0.5, 0.6, "lognormal")
    with pytest.raises(SystemExit):
        parse_arguments(["--chat-latency", "soon"])
    assert "lognormal:MEDIAN_SECONDS,SIGMA" in capsys.readouterr().err


def test_a_dialect_can_be_generated_from_a_seed():
    assert parse_arguments(["--dialect", "generated:17"]).dialect == "generated:17"


@pytest.mark.parametrize("arguments", [["--dialect", "klingon"], ["--dialect", "generated:x"], ["--port", "x"]])
def test_nonsense_options_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    assert arguments[0] in capsys.readouterr().err
