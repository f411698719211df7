import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from greennode_emulator.answers import answer_for
from greennode_emulator.chat_latency import Latency
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

MODELS = ("small/model", "large/model")


@pytest.fixture(scope="module")
def upstream():
    """A model server; another emulator plays it."""
    with running(Settings(models=MODELS, api_keys=("upstream-key",))) as server:
        yield server


@pytest.fixture(scope="module")
def server(upstream):
    settings = Settings(upstream=upstream.base_url + "/", upstream_key="upstream-key", batch_seconds=0.05)
    with running(settings) as server:
        yield server


@pytest.fixture
def fronted(server, upstream, caller):
    server.reset()
    upstream.reset()
    return type(caller)(server)


def make_bodies(body, count):
    return {f"r{row}": body(str(row)) | {"model": MODELS[0]} for row in range(count)}


def test_the_lines_of_a_batch_are_answered_by_the_model_server(fronted, upstream, body, jsonl):
    bodies = make_bodies(body, 50)
    batch = fronted.run(jsonl(bodies))
    assert batch["request_counts"] == {"total": 50, "completed": 50, "failed": 0}
    answers = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"]
        for line in fronted.lines(batch["output_file_id"])
    }
    assert answers == {name: answer_for(one).content for name, one in bodies.items()}
    assert upstream.ledger()["chat_requests_billed"] == 50
    ledger = fronted.server.ledger()
    assert ledger["requests"] == dict.fromkeys(bodies, 1)
    assert ledger["completion_tokens"] == sum(answer_for(one).completion_tokens for one in bodies.values())


def test_many_live_requests_are_at_the_model_server_at_once(body):
    with running(Settings(models=MODELS, api_keys=("k",), chat_latency=Latency(0.5))) as slow:
        settings = Settings(upstream=slow.base_url, upstream_key="k", api_keys=("k",))
        with running(settings) as server, httpx.Client(base_url=server.base_url, trust_env=False) as http:
            http.headers["authorization"] = "Bearer k"
            with ThreadPoolExecutor(24) as threads:
                bodies = make_bodies(body, 24).values()
                replies = list(threads.map(lambda one: http.post("/chat/completions", json=one), bodies))
        assert [reply.status_code for reply in replies] == [200] * 24
        assert slow.ledger(summary=True)["chat_most_at_once"] > 12


def test_errors_of_the_model_server_are_lines_of_the_error_file(fronted, upstream, body, jsonl):
    upstream.faults([{"endpoint": "POST /chat/completions", "kind": "html", "count": 2}])
    bodies = make_bodies(body, 10) | {"hot": body(temperature=3) | {"model": MODELS[0]}}
    batch = fronted.run(jsonl(bodies))
    assert batch["request_counts"] == {"total": 11, "completed": 8, "failed": 3}
    lines = fronted.lines(batch["error_file_id"])
    assert sorted(line["response"]["status_code"] for line in lines) == [400, 502, 502]
    (hot,) = [line for line in lines if line["custom_id"] == "hot"]
    assert hot["response"]["body"]["error"]["param"] == "temperature"
    assert len(fronted.server.ledger()["requests"]) == 8


def test_a_model_that_the_server_does_not_have_fails_every_line(fronted, body, jsonl):
    batch = fronted.run(jsonl({"a": body() | {"model": "nobody/nothing"}}))
    assert batch["status"] == "completed"
    (line,) = fronted.lines(batch["error_file_id"])
    assert line["response"]["status_code"] == 404


class EightAtATime(ThreadingHTTPServer):
    """A model server that answers none before eight ask; `most` is how many it had at once."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Asked)
        self.eight = threading.Barrier(8, timeout=120)
        self.lock = threading.Lock()
        self.now = self.most = 0

    def count(self, change):
        with self.lock:
            self.now += change
            self.most = max(self.most, self.now)


class Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.count(1)
        self.server.eight.wait()
        self.server.count(-1)
        choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
        reply = json.dumps({"id": "x", "object": "chat.completion", "model": MODELS[0], "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_):
        pass


def test_eight_requests_are_under_way_at_a_time_and_never_more(caller, body, jsonl):
    with EightAtATime() as upstream:
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        # At once: a batch that takes its time would ask for a few lines at a time.
        settings = Settings(upstream=f"http://127.0.0.1:{upstream.server_address[1]}/v1", batch_seconds=0)
        with running(settings) as server:
            batch = type(caller)(server).run(jsonl(make_bodies(body, 24)))
        upstream.shutdown()
    # With fewer, none would ever have been answered.
    assert batch["request_counts"] == {"total": 24, "completed": 24, "failed": 0}
    assert upstream.most == 8


def test_models_and_chat_are_passed_through(fronted, body):
    assert [model["id"] for model in fronted.http.get("/models").json()["data"]] == list(MODELS)
    assert fronted.http.get(f"/models/{MODELS[1]}").json()["id"] == MODELS[1]
    one = body("why?") | {"model": MODELS[0]}
    reply = fronted.http.post("/chat/completions", json=one)
    assert reply.json()["choices"][0]["message"]["content"] == answer_for(one).content
    refused = fronted.http.post("/chat/completions", json=one | {"n": 0})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "n")


def test_faults_strike_true_answers_too(fronted, body, jsonl):
    fronted.server.faults([{"kind": "cut_off"}])
    batch = fronted.run(jsonl(make_bodies(body, 3)))
    reasons = {
        line["response"]["body"]["choices"][0]["finish_reason"] for line in fronted.lines(batch["output_file_id"])
    }
    assert reasons == {"length"}


def test_a_model_server_that_is_not_there_is_said_so(caller, body, jsonl):
    with running(Settings(upstream="http://127.0.0.1:9/v1", batch_seconds=0.05)) as server:
        lonely = type(caller)(server)
        assert lonely.http.get("/models").status_code == 502
        batch = lonely.run(jsonl({"a": body()}))
        (line,) = lonely.lines(batch["error_file_id"])
        assert line["response"]["body"]["error"]["code"] == "upstream_unavailable"


def test_a_reply_that_is_no_completion_is_an_error(fronted, upstream, body):
    upstream.faults([{"endpoint": "POST /chat/completions", "kind": "status", "status": 200, "shape": "html"}])
    reply = fronted.http.post("/chat/completions", json=body() | {"model": MODELS[0]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "upstream_invalid")


def test_the_key_of_the_model_server_is_never_shown(server):
    assert "upstream-key" not in repr(Settings(upstream="http://x", upstream_key="upstream-key"))
    assert "upstream-key" not in httpx.get(f"{server.root_url}/_emulator/health", trust_env=False).text
