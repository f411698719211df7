"""Result lines, whatever they hold: 100,000 mutations of every shape that an API is known to write."""

from __future__ import annotations

import io
import json
import logging
import time
import unicodedata
from collections import Counter

import msgspec
import pytest

from greennode_batch.api.results.result_line import AnomalyKind
from greennode_batch.api.results.result_lines import Anomaly, ResultLine, iter_lines, parse_line, plain_answer

log = logging.getLogger(__name__)

LINES = 100_000
LINES_A_FILE = 500
# Of the time of all of them together, that one may take.
MAX_SHARE = 0.1
# None of these lines is over the bound.
KINDS = frozenset(AnomalyKind.__args__) - {"too_long"}  # type: ignore[attr-defined]
ID = "9f86d081884c7d659a2feaa0c55ad015"

MESSAGE = {"role": "assistant", "content": "Khách hàng\u2028is \u0085pleased. 😀"}
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 7,
    "total_tokens": 19,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
BODY = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1_760_000_000,
    "model": "google/gemma-4-31b-it",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop", "logprobs": None}],
    "usage": USAGE,
}
REFUSED = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded", "param": None}}


def with_message(**fields):
    return BODY | {"choices": [{"message": {"role": "assistant", **fields}, "finish_reason": "stop"}]}


def answered(body=BODY, **response):
    outer = {"status_code": 200, "request_id": "req_1", "body": body} | response
    return {"id": "batch_req_1", "custom_id": ID, "response": outer, "error": None}


def failed(**fields):
    return {"id": "batch_req_1", "custom_id": ID, **fields}


ANSWERS = [
    answered(),
    answered(with_message(content=None)),
    answered(with_message(content="")),
    answered(with_message(content=None, refusal="I cannot")),
    answered(with_message(content="x", reasoning_content="because")),
    answered(with_message(content='<think>\nhm\n</think>\n\n<answer>{"a": 1}</answer>', reasoning="because")),
    answered(
        with_message(
            content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "x"}]
        )
    ),
    answered(with_message(content=None, tool_calls=[{"function": {"name": "f", "arguments": '{"a": 1}'}}])),
    answered(with_message(content=None, function_call={"name": "f", "arguments": {"a": 1}})),
    answered(BODY | {"choices": {"message": MESSAGE, "finish_reason": "length"}}),
    answered(BODY | {"choices": {"0": {"message": MESSAGE}}}),
    answered(BODY | {"choices": [{"text": "plain completion", "finish_reason": "eos"}]}),
    answered(BODY | {"created": "2026-01-02T03:04:05Z", "usage": {"input_tokens": "3", "output_tokens": 4.0}}),
    answered(json.dumps(BODY)),
    {"custom_id": ID, "response": BODY},
    {"custom_id": ID, "response": json.dumps(BODY)},
    {"custom_id": ID, "status_code": 200, "body": BODY},
    {"customId": ID, "result": {"status": 200, "body": BODY}},
    {"custom_id": 17, **BODY},
]
FAILURES = [
    answered(REFUSED, status_code=429),
    answered(REFUSED["error"], status_code=0),
    answered(
        {"detail": [{"loc": ["body", "messages", 0], "msg": "Field required", "type": "missing"}]}, status_code=422
    ),
    answered("<html><head><title>502 Bad Gateway</title></head></html>", status_code=502),
    answered({}, status_code=200),
    answered(None, status_code=500),
    failed(response=None, error={"code": "batch_expired", "message": "not executed before the window closed"}),
    failed(response=None, error="model disabled"),
    failed(response=None, error=None),
    failed(error={"type": "request_failed", "message": "1 validation error\ntemperature"}),
    failed(error={"code": 403, "message": {"error": "no credit"}}),
    failed(response={"error": "out of memory"}),
]
ANOMALIES = [
    {"error": {"message": "the file is not a batch file", "code": "invalid_file"}},
    {"message": "Gateway Auth Unavailable"},
    {"errors": [{"message": "line 3: not JSON", "line": 3}]},
    {"id": "batch_req_1", "response": {"status_code": 200, "body": BODY}},
    {"custom_id": "", "response": None},
    {"custom_id": None},
    [ID, "x"],
    "text",
    17,
    None,
]
CORPUS = [*ANSWERS, *ANSWERS, *FAILURES, *ANOMALIES]


def outcome(line: bytes) -> str:
    parsed = parse_line(line)
    check(parsed)
    if isinstance(parsed, Anomaly):
        return parsed.kind
    return "answer" if parsed.error is None else "failure"


def check(parsed: ResultLine | Anomaly) -> None:
    # A type that is not the declared one, and half of a surrogate pair, do not survive this.
    assert msgspec.json.decode(msgspec.json.encode(parsed), type=type(parsed)) == parsed
    if isinstance(parsed, Anomaly):
        assert parsed.kind in KINDS
        assert_one_readable_line(parsed.text)
        return
    assert parsed.custom_id
    if parsed.error is not None:
        assert parsed.error
        assert_one_readable_line(parsed.error)
        assert (parsed.content, parsed.refusal, parsed.reasoning) == (None, None, None)


def check_plain(line: bytes, parsed: ResultLine | Anomaly) -> None:
    """The quick way says the same as the tolerant one, or leaves the line to it."""
    plain = plain_answer(line)
    if plain is None:
        return
    assert isinstance(parsed, ResultLine)
    tokens = (parsed.prompt_tokens, parsed.completion_tokens, parsed.cached_tokens, parsed.reasoning_tokens)
    created = parsed.created and int(parsed.created)
    assert plain == (parsed.custom_id, parsed.content, parsed.reasoning, *tokens, created)
    assert (parsed.error, parsed.refusal, parsed.finish_reason) == (None, None, "stop")


def assert_one_readable_line(words: str) -> None:
    assert len(words) <= 600
    assert not {unicodedata.category(char) for char in set(words)} & {"Cc", "Zl", "Zp", "Cs"}, ascii(words)


@pytest.mark.parametrize("value", ANSWERS)
def test_every_known_shape_of_an_answer_is_an_answer(value):
    assert outcome(json.dumps(value).encode()) == "answer"


@pytest.mark.parametrize("value", FAILURES)
def test_every_known_shape_of_a_failure_is_a_failure(value):
    assert outcome(json.dumps(value).encode()) == "failure"


@pytest.mark.parametrize("value", ANOMALIES)
def test_every_line_without_a_custom_id_is_an_anomaly(value):
    assert outcome(json.dumps(value).encode()) in KINDS


def test_mutated_lines_all_end_as_an_answer_a_failure_or_a_named_anomaly(mutator, times, least_seconds):
    mutate = mutator("lines")
    plain = [json.dumps(value, ensure_ascii=False).encode() for value in CORPUS]
    counted: Counter[str] = Counter()
    made = taken = slowest = 0.0
    worst = b""
    while made < LINES * times:
        file = b"\n".join(mutated(mutate, plain) for _ in range(LINES_A_FILE))
        expected = [line for line in (raw.rstrip(b"\r") for raw in file.split(b"\n")) if line]
        lines = list(iter_lines(io.BytesIO(file)))
        assert lines == expected
        for line in lines:
            before = time.thread_time()
            try:
                parsed = parse_line(line)
            except BaseException as error:
                error.add_note(f"the line: {line[:2000]!r}")
                raise
            seconds = time.thread_time() - before
            taken += seconds
            if seconds > slowest:
                slowest, worst = seconds, line
            try:
                check(parsed)
                check_plain(line, parsed)
            except BaseException as error:
                error.add_note(f"the line: {line[:2000]!r}")
                raise
            kind = parsed.kind if isinstance(parsed, Anomaly) else "answer" if parsed.error is None else "failure"
            counted[kind] += 1
        made += len(lines)
    log.info("%d lines, slowest %.1f ms: %s", counted.total(), slowest * 1000, dict(counted.most_common()))
    assert counted.total() == made
    assert min(slowest, least_seconds(lambda: parse_line(worst))) < MAX_SHARE * taken, worst[:200]
    # The mutations reach everywhere: none of the outcomes is rare.
    assert counted.keys() == {"answer", "failure", *KINDS}
    assert any(plain_answer(json.dumps(value).encode()) for value in ANSWERS)
    assert min(counted.values()) > made / 1000


def mutated(mutate, plain: list[bytes]) -> bytes:
    rng = mutate.rng
    index = rng.randrange(len(CORPUS))
    way = rng.random()
    if way < 0.5:
        return mutate.twisted_json(CORPUS[index], twists=rng.choice((1, 1, 2, 3)))
    data = plain[index] if way < 0.9 else mutate.twisted_json(CORPUS[index], twists=1)
    return mutate.twisted_bytes(data, rng.choice(plain))


@pytest.mark.parametrize(
    ("size", "line"),
    [
        (
            5_000_000,
            lambda n: (
                b'{"custom_id": "x", "response": {"body": {"choices": [{"message": {"content": "%s"}}]}}}' % (b"a" * n)
            ),
        ),
        (5_000_000, lambda n: b'{"custom_id": "%s"}' % (b"a" * n)),
        (5_000_000, lambda n: b"[" * n),
        (1_000_000, lambda n: b'{"a":' * n),
        (5_000_000, lambda n: b"9" * n),
        (2_000_000, lambda n: b'{"custom_id": ' + b"9" * n + b"}"),
        (1_000_000, lambda n: b'"' + b"\\ud800" * n + b'"'),
        (5_000_000, lambda n: b"\x00" * n),
        (5_000_000, lambda n: b" " * n),
        (5_000_000, lambda n: b"\xff" * n),
        (500_000, lambda n: b"<title>" * n),
        (200_000, lambda n: b'{"custom_id": "x", "error": [' + b",".join(b'"e%d"' % i for i in range(n)) + b"]}"),
        (200_000, lambda n: b'{"custom_id": "x", "error": {' + b",".join(b'"k%d": {}' % i for i in range(n)) + b"}}"),
        (20_000, lambda n: '{"custom_id": "é", "error": "x"}'.encode("utf-16") * n),
    ],
    ids=[
        "answer",
        "id",
        "open",
        "objects",
        "digits",
        "long id",
        "surrogates",
        "zeros",
        "spaces",
        "ones",
        "html",
        "errors",
        "keys",
        "utf-16",
    ],
)
def test_a_line_of_megabytes_is_read_in_linear_time(size, line, assert_linear):
    lines = {n: line(n) for n in (size // 16, size)}
    assert_linear(lambda n: outcome(lines[n]), size)
