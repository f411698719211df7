import dataclasses
import itertools
import json
import logging
import subprocess
import sys

import httpx
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.api.wire import BatchStatus
from greennode_batch.batches.submit import SETTLE_SECONDS
from greennode_batch.errors import (
    AmbiguousError,
    ConfigError,
    GreenNodeError,
    NotFoundError,
    RejectedError,
    RetryableError,
)

KEY = "sk-live-0123456789abcdef"
BATCH = {"id": "batch_1", "status": "in_progress", "input_file_id": "file-1"}


class Server:
    """Answers by (method, path); keeps the requests. An answer may be a list: one a call, the last one repeats."""

    def __init__(self):
        self.answers = {}
        self.requests = []
        self.slept = []

    def on(self, method, path, *answers):
        self.answers[method, path] = list(answers)
        return self

    def __call__(self, request):
        request.read()
        self.requests.append(request)
        answers = self.answers.get((request.method, request.url.path))
        if answers is None:
            return httpx.Response(404, json={"error": {"message": f"no route {request.url.path}"}})
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def client(self, **options):
        return GreenNodeClient(
            "https://api.example/v1", KEY, transport=httpx.MockTransport(self), sleep=self.slept.append, **options
        )


def fail(status, body=None):
    return httpx.Response(status, json=body or {"error": {"message": "bad"}})


def test_every_call_carries_the_key_and_the_profiles_headers():
    server = Server().on("GET", "/v1/batches/batch_1", BATCH)
    profile = dataclasses.replace(ApiProfile(), extra_headers={"x-project": "p1"})
    with server.client(profile=profile) as client:
        client.get_batch("batch_1")
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["x-project"] == "p1"


@pytest.mark.parametrize(
    ("profile", "sent"),
    [
        (
            "greennode",
            {
                "input_file_id": "file-1",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "metadata": {"a": "b"},
            },
        ),
        ("together", {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}),
        ("novita", {"input_file_id": "file-1", "endpoint": "/v1/chat/completions"}),
        (
            "mistral",
            {
                "input_files": ["file-1"],
                "endpoint": "/v1/chat/completions",
                "metadata": {"a": "b"},
                "model": "m",
                "timeout_hours": 24,
            },
        ),
    ],
)
def test_a_create_sends_what_the_profile_says(profile, sent):
    preset = PRESETS[profile]
    server = Server().on("POST", f"/v1{preset.batches_path}", {"job": BATCH})
    batch = server.client(profile=preset).create_batch("file-1", metadata={"a": "b"}, model="m")
    assert batch.id == "batch_1"
    assert json.loads(server.requests[0].content) == sent


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("dropped"),
        httpx.ReadError("reset"),
        httpx.WriteError("reset"),
        fail(500),
        fail(503, {"message": "Gateway Auth Unavailable"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={"status": "ok"}),
        httpx.Response(201),
    ],
)
def test_a_create_of_unknown_outcome_is_sent_once_and_says_what_to_do(answer):
    server = Server().on("POST", "/v1/batches", answer, BATCH)
    with pytest.raises(AmbiguousError, match=r"may exist and be billed: list the batches and look for this file"):
        server.client().create_batch("file-1")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer", [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.PoolTimeout("busy"), fail(429)]
)
def test_a_create_that_did_not_reach_the_api_is_sent_once_and_retryable(answer):
    server = Server().on("POST", "/v1/batches", answer, BATCH)
    with pytest.raises(RetryableError):
        server.client().create_batch("file-1")
    assert len(server.requests) == 1


@pytest.mark.parametrize("answer", [fail(503), httpx.ReadTimeout("late"), httpx.ConnectError("refused"), fail(429)])
def test_a_poll_goes_through_a_bad_moment(answer):
    server = Server().on("GET", "/v1/batches/batch_1", answer, answer, BATCH)
    assert server.client().get_batch("batch_1").status is BatchStatus.IN_PROGRESS
    assert len(server.slept) == 2


def test_an_unknown_status_word_is_logged_once_a_client(caplog):
    server = Server().on(
        "GET",
        "/v1/batches/b",
        {"id": "b", "status": "MARINATING"},
        {"id": "b", "status": "RESTING"},
        {"id": "b", "status": "MARINATING"},
    )
    client = server.client()
    with caplog.at_level(logging.WARNING):
        assert [client.get_batch("b").status for _ in range(4)] == [BatchStatus.UNKNOWN] * 4
    assert [word in caplog.text for word in ("MARINATING", "RESTING")] == [True, True]
    assert len(caplog.records) == 2


@pytest.mark.parametrize("answer", [fail(400), fail(409), httpx.Response(204), httpx.Response(200, text="ok")])
def test_cancelling_what_has_finished_is_not_an_error(answer):
    server = Server().on("POST", "/v1/batches/batch_1/cancel", answer)
    assert server.client().cancel_batch("batch_1") is None
    assert len(server.requests) == 1


def test_a_cancel_tells_how_the_batch_stands():
    server = Server().on("POST", "/v1/batches/batch_1/cancel", fail(502), BATCH | {"status": "cancelling"})
    assert server.client().cancel_batch("batch_1").status is BatchStatus.CANCELLING


def test_cancelling_an_unknown_batch_is_an_error():
    with pytest.raises(NotFoundError):
        Server().client().cancel_batch("batch_1")


@pytest.mark.parametrize("answer", [BATCH, fail(404), fail(410)])
def test_a_batch_can_be_cancelled_by_delete_too(answer):
    server = Server().on("DELETE", "/v1/batches/batch_1", answer)
    server.client(profile=dataclasses.replace(ApiProfile(), cancel_style="delete")).cancel_batch("batch_1")
    assert [request.method for request in server.requests] == ["DELETE"]


@pytest.mark.parametrize(
    "answer", [{"deleted": True}, httpx.Response(204), fail(404), fail(410), {"code": 0, "message": "ok"}]
)
def test_deleting_twice_is_fine(answer):
    server = Server().on("DELETE", "/v1/batches/batch_1", answer).on("DELETE", "/v1/files/file-1", answer)
    client = server.client()
    for _ in range(2):
        client.delete_batch("batch_1")
        client.delete_file("file-1")
    assert len(server.requests) == 4


def test_what_the_api_cannot_do_is_not_tried():
    profile = dataclasses.replace(ApiProfile(), cancel_style="none", delete_style="none", can_list_batches=False)
    server = Server()
    client = server.client(profile=profile)
    for attempt in (client.cancel_batch, client.delete_batch, lambda _: list(client.list_batches())):
        with pytest.raises(ConfigError, match="cannot"):
            attempt("batch_1")
    assert server.requests == []


def test_a_list_is_asked_for_page_by_page_as_the_caller_goes_on():
    server = Server().on(
        "GET",
        "/v1/batches",
        {"data": [BATCH], "has_more": True},
        {"data": [BATCH | {"id": "batch_2"}], "has_more": False},
    )
    batches = server.client().list_batches(limit=1)
    assert next(batches).id == "batch_1"
    assert len(server.requests) == 1
    assert [batch.id for batch in batches] == ["batch_2"]
    assert dict(server.requests[1].url.params) == {"limit": "1", "after": "batch_1"}


def test_an_unreadable_list_is_an_error_and_not_an_empty_list():
    server = Server().on("GET", "/v1/batches", {"message": "internal"})
    with pytest.raises(RetryableError, match="internal"):
        list(server.client().list_batches())


def test_files_and_models_are_listed_and_read():
    server = (
        Server()
        .on("GET", "/v1/files", {"data": [{"id": "f1"}], "has_more": False})
        .on("GET", "/v1/files/f1", {"id": "f1", "status": "processed", "bytes": 3})
        .on("GET", "/v1/models", {"data": [{"id": "m1", "status": None}]})
    )
    client = server.client()
    assert [file.id for file in client.list_files()] == ["f1"]
    assert client.get_file("f1").status == "processed"
    assert [model.id for model in client.list_models()] == ["m1"]


def test_an_id_cannot_leave_its_place_in_the_path():
    server = Server()
    with pytest.raises(NotFoundError):
        server.client().get_batch("../files/x?y#z")
    assert server.requests[0].url.raw_path == b"/v1/batches/..%2Ffiles%2Fx%3Fy%23z"
    with pytest.raises(ConfigError, match="batch_id is empty"):
        server.client().get_batch("")


def test_a_chat_gives_the_answer_and_its_tokens():
    body = {
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1},
    }
    server = Server().on("POST", "/v1/chat/completions", body)
    answer = server.client().chat({"model": "m", "messages": []})
    assert (answer.content, answer.finish_reason, answer.prompt_tokens, answer.status_code) == ("hi", "stop", 2, 200)


@pytest.mark.parametrize("answer", [httpx.ReadTimeout("late"), fail(500), {"odd": True}])
def test_a_chat_is_never_sent_twice(answer):
    server = Server().on("POST", "/v1/chat/completions", answer)
    with pytest.raises(AmbiguousError, match="may have been billed"):
        server.client().chat({"model": "m", "messages": []})
    assert len(server.requests) == 1


def test_a_reply_without_end_is_given_up():
    server = Server().on(
        "GET", "/v1/batches/b", lambda _: httpx.Response(200, content=itertools.repeat(b" " * 4_000_000))
    )
    with pytest.raises(GreenNodeError, match="gave up"):
        server.client().get_batch("b")


def test_the_key_is_in_nothing_that_can_be_shown(caplog):
    echo = {"error": {"message": f"Incorrect API key provided: {KEY}. Header 'Bearer {KEY}'"}}
    server = Server().on("GET", "/v1/batches/b", fail(500, echo), fail(401, echo))
    client = server.client()
    with caplog.at_level(logging.DEBUG), pytest.raises(GreenNodeError) as caught:
        client.get_batch("b")
    shown = f"{client!r} {client} {caught.value!r} {vars(caught.value)} {caplog.text}"
    shown += f"{vars(client)} {vars(client._connection)}"
    assert "***" in str(caught.value)
    assert KEY not in shown


def test_a_wrong_setting_is_refused_before_anything_is_sent():
    with pytest.raises(ConfigError, match="add /v1"):
        GreenNodeClient("https://api.example", KEY)
    with pytest.raises(ConfigError, match="API key is empty"):
        GreenNodeClient("https://api.example/v1", "")


def test_an_api_call_is_not_redirected():
    server = Server().on("GET", "/v1/batches/b", httpx.Response(302, headers={"location": "https://evil.example/"}))
    with pytest.raises(RejectedError, match="set that as base URL"):
        server.client().get_batch("b")
    assert [request.url.host for request in server.requests] == ["api.example"]


def test_a_create_is_over_before_another_may_be_sent():
    server = Server().on("POST", "/v1/batches", BATCH)
    server.client(timeout=10_000.0).create_batch("file-1")
    phases = server.requests[0].extensions["timeout"]
    # Connecting counts twice: the TCP and the TLS handshake each have its time.
    assert sum(phases.values()) + phases["connect"] < SETTLE_SECONDS


def test_a_create_that_was_accepted_and_then_reset_is_not_sent_again(serve):
    server = serve(serve.reset, serve.answer(200, json.dumps(BATCH).encode()))
    with GreenNodeClient(server.base_url, KEY) as client, pytest.raises(AmbiguousError):
        client.create_batch("file-1")
    assert len(server.requests) == 1


def test_the_client_needs_no_airflow():
    code = "import sys, greennode_batch.api.client; sys.exit(any(m.split('.')[0] == 'airflow' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_file_whose_id_is_a_whole_number_is_named_by_it():
    server = Server().on("POST", "/v1/batches", {"id": 9, "status": "queued", "dataset_id": 5})
    profile = ApiProfile(input_file_field="dataset_id", input_file_type="integer", metadata_field="tags")
    with server.client(profile=profile) as client:
        assert client.create_batch("5", metadata={"a": "b"}).id == "9"
        with pytest.raises(ConfigError, match=r"file-5.*input_file_type"):
            client.create_batch("file-5")
    sent = json.loads(server.requests[0].content)
    assert (sent["dataset_id"], sent["tags"]) == (5, {"a": "b"})


@pytest.mark.parametrize(
    ("method", "path", "status", "fields"),
    [
        ("POST", "/v1/batches", 404, "batches_path"),
        ("POST", "/v1/batches", 405, "batches_path"),
        ("POST", "/v1/batches", 400, "input_file_field, input_file_type, endpoint, completion_window"),
        ("POST", "/v1/batches", 422, "create_fields"),
        ("GET", "/v1/batches", 404, "batches_path, can_list_batches"),
        ("GET", "/v1/batches", 400, "list_style, page_parameter"),
        ("GET", "/v1/models", 404, "models_path, check_models"),
        ("POST", "/v1/batches/b1/cancel", 405, "cancel_path, cancel_style"),
    ],
)
def test_a_refusal_names_the_fields_of_the_profile_that_may_be_wrong(method, path, status, fields):
    server = Server().on(method, path, fail(status))
    calls = {
        ("POST", "/v1/batches"): lambda client: client.create_batch("file-1"),
        ("GET", "/v1/batches"): lambda client: list(client.list_batches()),
        ("GET", "/v1/models"): lambda client: client.list_models(),
        ("POST", "/v1/batches/b1/cancel"): lambda client: client.cancel_batch("b1"),
    }
    with server.client() as client, pytest.raises(GreenNodeError, match=f"bad.*{fields}.*the connection's profile"):
        calls[method, path](client)


def test_an_error_code_that_a_gateway_made_of_a_status_is_that_status():
    server = Server().on("GET", "/v1/batches/b1", {"code": 40401, "message": "no such job", "data": None})
    with server.client() as client, pytest.raises(NotFoundError, match="no such job"):
        client.get_batch("b1")
