"""Replies, whatever they hold: 100,000 mutations of every shape of batches, files, models, lists and errors."""

from __future__ import annotations

import json
import logging
import time
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from greennode_batch.api.endpoint import ApiKey
from greennode_batch.api.exchange import Reply, Wait, run
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.protocol import Operations
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.api.wire import Batch, Model, Page, RemoteFile
from greennode_batch.errors import (
    AmbiguousError,
    ApiError,
    AuthError,
    CreditError,
    NotFoundError,
    RejectedError,
    RetryableError,
)

log = logging.getLogger(__name__)

REPLIES = 100_000
# Of the time of all of them together, that one may take.
MAX_SHARE = 0.1
# Tries and waits of one operation.
MAX_STEPS = 100
KEY = "sk-Zx81.fuzz/only+Qq==~0Yw"
REDACT = ApiKey(KEY).redact
NOW = 1_760_000_000.0
DOCUMENTED = (AmbiguousError, AuthError, CreditError, NotFoundError, RejectedError, RetryableError)

BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "errors": None,
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "in_progress",
    "output_file_id": "file-2",
    "error_file_id": "",
    "created_at": 1_760_000_000,
    "expires_at": 1_760_086_400,
    "completed_at": None,
    "request_counts": {"total": 9, "completed": 5, "failed": 1},
    "metadata": {"greennode_airflow_shard": "0af1"},
}
MISTRAL = {
    "id": "b-1",
    "input_files": ["f-1"],
    "status": "RUNNING",
    "output_file": None,
    "error_file": None,
    "model": "m",
    "total_requests": 9,
    "succeeded_requests": 2,
    "failed_requests": 1,
    "created_at": 1_760_000_000_000,
    "errors": [{"message": "bad line", "count": 3}],
}
BATCHES = [
    BATCH,
    MISTRAL,
    {"job": BATCH, "warning": None},
    {"data": BATCH},
    {"code": 20000, "message": "Ok", "status": True, "data": {"batch": BATCH}},
    {"result": BATCH | {"status": "JOB_STATE_SUCCEEDED", "created_at": "2026-01-02T03:04:05.678Z"}},
    {"batch": BATCH | {"status": "TIMEOUT_EXCEEDED", "created_at": "1760000000000"}},
    BATCH
    | {
        "status": "failed",
        "errors": {"object": "list", "data": [{"code": "token_limit_exceeded", "line": 3, "message": "no"}]},
    },
    BATCH | {"status": "A WORD OF ITS OWN", "errors": "text", "request_counts": None, "metadata": None},
    {
        "batchId": "b-2",
        "inputFileId": "f-1",
        "state": "SUCCESS",
        "resultFileId": {"id": "f-2"},
        "createTime": 1_760_000_000.5,
    },
    {"status": "completed", "output_file": ["f-2"]},
]
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 123,
    "created_at": 1_760_000_000,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
    "status_details": None,
}
FILES = [FILE, {"data": FILE}, {"file": {"file_id": "f-1", "size": "123", "fileName": "a"}}, {"id": "f", "bytes": None}]
URLS = [
    {"url": "https://store.example/f?sig=1"},
    {"data": {"downloadUrl": "http://store.example/f"}},
    "https://store.example/f",
]
MODEL = {
    "id": "google/gemma-4-31b-it",
    "object": "model",
    "created": 1,
    "owned_by": "x",
    "status": None,
    "model_type": "chat",
}
MODELS = [{"object": "list", "data": [MODEL, MODEL]}, [MODEL], {"models": ["a", "b"]}]
LISTS = [
    {"object": "list", "data": [BATCH, MISTRAL], "has_more": True, "first_id": "batch_1", "last_id": "b-1"},
    {"object": "list", "data": None},
    [BATCH],
    {"value": [BATCH]},
    {"items": [BATCH], "total": 1, "page": 0},
    {"data": {"listData": [BATCH], "hasMore": False, "next_cursor": "c"}},
    {"object": "list", "data": [FILE, FILE], "has_more": False},
    {"data": []},
]
CHATS = [
    {
        "id": "c1",
        "model": "m",
        "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3},
    }
]
NGINX = f"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>Bearer {KEY}<hr>nginx</body></html>"
ERRORS = [
    {
        "error": {
            "message": f"Incorrect API key provided: {KEY}.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    },
    {"error": "text", "message": f"no model for {KEY}"},
    {"message": "Gateway Auth Unavailable"},
    {"detail": "Not Found"},
    {"detail": [{"loc": ["body", "input_file_id"], "msg": "Field required", "type": "missing"}]},
    {"data": [{"code": "model_mismatch", "line": 7, "message": "one model a file"}]},
    [{"message": "bad", "count": 3}],
    {"code": 50505, "message": f"authorization: Bearer {KEY} is not accepted", "data": None},
    {"success": False, "error_msg": "quota", "error_code": 403, "request_id": f"req {KEY}"},
    {"errors": [{"title": "a"}, {"title": "b"}]},
    f"upstream connect error, sent {KEY}",
    NGINX,
    "",
]
CORPUS: list[Any] = [*BATCHES, *FILES, *URLS, *MODELS, *LISTS, *CHATS, *ERRORS]
STATUSES = (
    *[200] * 20,
    201,
    202,
    204,
    301,
    302,
    307,
    400,
    401,
    402,
    403,
    404,
    405,
    408,
    409,
    410,
    413,
    415,
    418,
    422,
    425,
    429,
    429,
    451,
    499,
    500,
    502,
    503,
    504,
    520,
    529,
    599,
)
HEADERS = (
    "retry-after",
    "retry-after-ms",
    "x-ratelimit-reset-requests",
    "ratelimit-reset",
    "x-request-id",
    "location",
    "cf-ray",
)
HEADER_VALUES = (
    "0",
    "1",
    "-1",
    "3.5",
    "1e9",
    "9" * 40,
    "nan",
    "soon",
    "Wed, 21 Oct 2026 07:28:00 GMT",
    "Wed, 99 Foo 0000 99:99:99",
    "6m0s",
    "1h2m3.4s5ms",
    "",
    " ",
    ",",
    "Mon, 01 Jan 0001 00:00:00 +9999",
    "https://elsewhere.example/?k=" + KEY,
    f"req-{KEY}",
    "a" * 5000,
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "1760000060",
    "1760000060000",
    "(",
    "\x00",
    "é",
)


@pytest.fixture(scope="module")
def upload(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "in.jsonl"
    path.write_bytes(b"{}\n")
    return path


def operations(upload: Path) -> dict[str, tuple[Any, Any]]:
    """How each operation is begun, and what it must return."""
    of = Operations(ApiProfile(), seconds=60.0)
    as_pages = Operations(ApiProfile(list_style="page", cancel_style="delete"), seconds=60.0)
    return {
        "create": (lambda: of.create_batch("file-1", {"a": "b"}, "m"), Batch),
        "get batch": (lambda: of.get_batch("batch_1"), Batch),
        "cancel": (lambda: of.cancel_batch("batch_1"), Batch | None),
        "cancel by delete": (lambda: as_pages.cancel_batch("batch_1"), Batch | None),
        "delete batch": (lambda: of.delete_batch("batch_1"), None),
        "list batches": (lambda: of.batches(100).next_page(), Page[Batch]),
        "pages of batches": (lambda: as_pages.batches(100).next_page(), Page[Batch]),
        "upload": (lambda: of.upload_file(upload, filename=None), RemoteFile),
        "get file": (lambda: of.get_file("file-1"), RemoteFile),
        "list files": (lambda: of.files(100).next_page(), Page[RemoteFile]),
        "delete file": (lambda: of.delete_file("file-1"), None),
        "file url": (lambda: of.file_url("file-1"), str),
        "models": (of.list_models, list[Model]),
        "chat": (lambda: of.chat({"model": "m", "messages": []}), ResultLine),
    }


def outcome(begin: Any, returns: Any, reply: Reply, **options: Any) -> str:
    """What an operation makes of a reply that it gets to every try: "ok", or the error's name. options: of `run`."""
    try:
        value = answered(begin, reply, **options)
    except ApiError as caught:
        error = caught
    else:
        # A type that is not the declared one does not survive this.
        assert msgspec.json.decode(msgspec.json.encode(value), type=returns) == value
        return "ok"
    assert type(error) in DOCUMENTED
    for words in (str(error), error.code, error.request_id):
        if words is not None:
            assert_readable(words)
    return type(error).__name__


def answered(begin: Any, reply: Reply, **options: Any) -> Any:
    steps = run(begin(), REDACT, rng=lambda: 0.5, now=lambda: NOW, **options)
    answer = None
    for _ in range(MAX_STEPS):
        try:
            step = steps.send(answer)
        except StopIteration as done:
            return done.value
        answer = reply
        if isinstance(step, Wait):
            answer = None
            assert 0 <= step.seconds <= 125
            assert_readable(step.reason)
    raise AssertionError("the operation asks for ever")


def assert_readable(words: str) -> None:
    assert words.strip()
    assert len(words) <= 900
    assert KEY not in words
    assert not {unicodedata.category(char) for char in set(words)} & {"Cc", "Zl", "Zp", "Cs"}, ascii(words)


@pytest.mark.parametrize(
    ("operation", "values"),
    [("get batch", BATCHES), ("get file", FILES), ("file url", URLS), ("models", MODELS), ("chat", CHATS)],
)
def test_every_known_shape_of_a_good_reply_is_read(operation, values, upload):
    for value in values:
        assert outcome(*operations(upload)[operation], Reply(200, {}, json.dumps(value).encode())) == "ok"


def test_every_known_shape_of_an_error_is_an_error_to_every_operation(upload):
    deaf = {"delete batch", "delete file", "cancel", "cancel by delete"}
    for value in ERRORS:
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        for name, (begin, returns) in operations(upload).items():
            assert outcome(begin, returns, Reply(500, {}, body)) in {"RetryableError", "AmbiguousError"}
            if name not in deaf:
                assert outcome(begin, returns, Reply(200, {}, body)) != "ok", (name, value)


def test_mutated_replies_all_end_as_a_typed_object_or_a_documented_error(mutator, times, upload, least_seconds):
    mutate = mutator("replies", words=(KEY, f"Bearer {KEY}", f"authorization: bearer {KEY}"))
    rng = mutate.rng
    known = operations(upload)
    plain = [
        value.encode() if isinstance(value, str) else json.dumps(value, ensure_ascii=False).encode() for value in CORPUS
    ]
    counted: Counter[tuple[str, str]] = Counter()
    taken, slowest, worst = 0.0, 0.0, (known["models"], Reply(200, {}, b""))
    for _ in range(int(REPLIES * times)):
        reply = Reply(rng.choice(STATUSES), headers(rng), mutated(mutate, plain))
        name = rng.choice(list(known))
        before = time.thread_time()
        try:
            counted[name, outcome(*known[name], reply)] += 1
        except BaseException as error:
            error.add_note(f"{name}: {reply.status} {reply.headers} {reply.body[:2000]!r}")
            raise
        seconds = time.thread_time() - before
        taken += seconds
        if seconds > slowest:
            slowest, worst = seconds, (known[name], reply)
    ends: Counter[str] = Counter()
    for (_, end), n in counted.items():
        ends[end] += n
    log.info("%d replies, slowest %.1f ms: %s", counted.total(), slowest * 1000, dict(ends.most_common()))
    assert counted.total() == int(REPLIES * times)
    slow, reply = worst
    assert min(slowest, least_seconds(lambda: outcome(*slow, reply))) < MAX_SHARE * taken, reply.body[:200]
    # The mutations reach everywhere: each operation succeeds at times, and every documented error is met.
    assert {name for name, end in counted if end == "ok"} == known.keys()
    assert ends.keys() == {"ok", *(error.__name__ for error in DOCUMENTED)}


def headers(rng) -> dict[str, str]:
    return {name: rng.choice(HEADER_VALUES) for name in HEADERS if rng.random() < 0.15}


def mutated(mutate, plain: list[bytes]) -> bytes:
    rng = mutate.rng
    index = rng.randrange(len(CORPUS))
    way = rng.random()
    if way < 0.6 and not isinstance(CORPUS[index], str):
        return mutate.twisted_json(CORPUS[index], twists=rng.choice((1, 1, 2, 3)))
    data = plain[index] if way < 0.9 else mutate.twisted_json(CORPUS[index], twists=1)
    return mutate.twisted_bytes(data, rng.choice(plain))


@pytest.mark.parametrize(
    ("size", "body"),
    [
        (300_000, lambda n: b"<title>" * n),
        (300_000, lambda n: b"<style>" * n),
        (2_000_000, lambda n: b"<" * n),
        (300_000, lambda n: b"<script" * n),
        (2_000_000, lambda n: b"&" * n),
        (5_000_000, lambda n: b" " * n + KEY.encode()),
        (3_000_000, lambda n: b"[" * n),
        (100_000, lambda n: b'{"error": [' + b",".join(b'"e%d"' % i for i in range(n)) + b"]}"),
        (20_000, lambda n: b'{"data": [' + b",".join(b'{"id": "b%d"}' % i for i in range(n)) + b"]}"),
        (20_000, lambda n: b'{"data": [' + b",".join(b'{"x": %d}' % i for i in range(n)) + b"]}"),
        (100_000, lambda n: b"{" + b",".join(b'"k%d": 1' % i for i in range(n)) + b"}"),
        (3_000_000, lambda n: b'{"%s": 1}' % (b"k" * n)),
        (3_000_000, lambda n: b'{"id": "%s"}' % (b"9" * n)),
        (
            1_000_000,
            lambda n: b'{"id": 1, "created_at": "%s", "metadata": {"a": %s}}' % (b"9" * n, b"[" * 900 + b"]" * 900),
        ),
        (1_000_000, lambda n: b'{"error": {"message": "%s"}}' % (b"\\n" * n)),
    ],
    ids=[
        "title",
        "style",
        "tags",
        "script",
        "entities",
        "spaces",
        "open",
        "errors",
        "batches",
        "not batches",
        "keys",
        "long key",
        "long id",
        "odd batch",
        "line ends",
    ],
)
@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ("create", 200),
        ("create", 500),
        ("list batches", 200),
        # All operations read an error in the same way.
        pytest.param("list batches", 500, marks=pytest.mark.nightly),
    ],
)
def test_a_reply_of_megabytes_is_read_in_linear_time(size, body, status, operation, upload, assert_linear):
    begin, returns = operations(upload)[operation]
    bodies = {n: body(n) for n in (size // 16, size)}
    assert_linear(lambda n: outcome(begin, returns, Reply(status, {}, bodies[n]), max_tries=1), size)


def test_no_part_of_the_key_is_left_wherever_a_message_is_cut(upload):
    begin, _ = operations(upload)["get batch"]
    for before in [*range(60, 120), *range(440, 520), *range(1960, 2020), *range(8150, 8200)]:
        for filler in ("x", " ", "\u2003"):
            words = f"{filler * before}{KEY} and more{'.' * 300}"
            replies = (
                Reply(400, {}, words.encode()),
                Reply(400, {"x-request-id": words}, json.dumps({"error": {"message": words, "code": words}}).encode()),
                Reply(307, {"location": words}, b""),
                Reply(200, {}, json.dumps({words: 1}).encode()),
            )
            for reply in replies:
                with pytest.raises(ApiError) as caught:
                    answered(begin, reply)
                shown = f"{caught.value} {caught.value.code} {caught.value.request_id}"
                assert KEY[:4] not in shown, (before, shown)
