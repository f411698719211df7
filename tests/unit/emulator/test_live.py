"""Live answers as a whole: their latency, limits, faults, and what the ledger says of them."""

import asyncio
import json
from contextlib import suppress
from hashlib import blake2b

import httpx
import pytest

from greennode_emulator.answers import answer_for
from greennode_emulator.chat_latency import Latency
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

CHAT = "POST /chat/completions"


def hashed(raw):
    return blake2b(raw, digest_size=16).hexdigest()


def client(server):
    return httpx.Client(
        base_url=server.base_url, headers={"authorization": f"Bearer {server.api_key}"}, trust_env=False, timeout=60
    )


def ask(http, raw):
    return http.post("/chat/completions", content=raw, headers={"content-type": "application/json"})


@pytest.fixture
def raw(body):
    """The bytes of a request."""

    def raw(text):
        return json.dumps(body(text)).encode()

    return raw


@pytest.fixture
def limited(clock):
    with running(Settings(clock=clock, chat_requests_per_minute=2)) as server, client(server) as http:
        yield http, server


def test_the_ledger_counts_live_requests_by_the_hash_of_their_bytes(caller, raw, body):
    replies = [ask(caller.http, raw(text)) for text in ("a", "b", "b")]
    assert replies[1].json()["choices"][0]["message"]["content"] == answer_for(body("b")).content
    ledger = caller.server.ledger()
    assert ledger["chat_requests"] == {hashed(raw("a")): 1, hashed(raw("b")): 2}
    assert (ledger["chat_requests_billed"], ledger["chat_requests_lost"], ledger["chat_lost"]) == (3, 0, {})
    usages = [reply.json()["usage"] for reply in replies]
    assert ledger["chat_prompt_tokens"] == sum(usage["prompt_tokens"] for usage in usages)
    assert ledger["chat_completion_tokens"] == sum(usage["completion_tokens"] for usage in usages)
    assert (ledger["prompt_tokens"], ledger["requests_billed"], ledger["requests"]) == (0, 0, {})
    assert "chat_requests" not in caller.server.ledger(summary=True)


def test_a_request_that_is_refused_is_not_billed(caller, raw):
    assert ask(caller.http, raw("a").replace(b"gemma", b"gamma")).status_code == 404
    assert ask(caller.http, b"{").status_code == 400
    assert caller.server.ledger()["chat_requests"] == {}


def test_limits_are_said_and_held(limited, clock, raw):
    http, server = limited
    replies = [ask(http, raw(str(row))) for row in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["1", "0", "0"]
    assert replies[2].headers["retry-after"] == replies[2].headers["x-ratelimit-reset-requests"] == "60"
    assert replies[2].json()["error"]["code"] == "rate_limit_exceeded"
    ledger = server.ledger()
    assert (ledger["chat_requests_billed"], ledger["chat_requests_refused"]) == (2, 1)
    clock.advance(60)
    assert ask(http, raw("2")).status_code == 200
    ask(http, raw("3"))
    server.reset()
    assert ask(http, raw("4")).status_code == 200


@pytest.mark.parametrize(
    ("fault", "billed"),
    [({"kind": "reset_before"}, 0), ({"kind": "reset_after"}, 1), ({"kind": "error_after"}, 1)],
)
def test_an_answer_that_a_fault_keeps_from_its_client_is_lost_if_it_was_billed(caller, raw, fault, billed):
    caller.server.faults([fault | {"endpoint": CHAT}])
    with suppress(httpx.TransportError):
        assert ask(caller.http, raw("a")).status_code == 502
    assert ask(caller.http, raw("a")).status_code == 200
    ledger = caller.server.ledger()
    assert ledger["chat_requests"] == {hashed(raw("a")): billed + 1}
    assert ledger["chat_lost"] == ({hashed(raw("a")): 1} if billed else {})
    assert ledger["chat_requests_lost"] == billed


@pytest.mark.parametrize("fault", [{"kind": "truncated"}, {"kind": "truncated", "length": "right"}])
def test_half_an_answer_is_lost(caller, raw, fault):
    caller.server.faults([fault | {"endpoint": CHAT}])
    try:
        with pytest.raises(json.JSONDecodeError):
            ask(caller.http, raw("a")).json()
    except httpx.RemoteProtocolError:
        pass
    assert caller.server.ledger()["chat_requests_lost"] == 1


def test_a_body_can_stop_in_the_middle_and_the_connection_stay(caller, raw, begin):
    caller.server.faults([{"kind": "stalled", "endpoint": CHAT, "fraction": 0.5}])
    connection = begin(caller.http, "POST", "chat/completions", content=raw("a"))
    reply = connection.getresponse()
    whole = int(reply.headers["content-length"])
    assert len(reply.read(whole // 2)) == whole // 2
    connection.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        reply.read(1)
    assert caller.server.ledger()["chat_requests_lost"] == 1


def test_a_storm_refuses_every_call_of_its_seconds(timed, clock, raw):
    storm = {"kind": "storm", "endpoint": CHAT, "seconds": 5, "headers": {"Retry-After": "2"}}
    timed.server.faults([storm | {"skip": 1, "count": 2}])
    seen = []
    for _ in range(9):
        reply = ask(timed.http, raw("a"))
        seen.append(reply.status_code)
        clock.advance(2)
    # Five seconds are three calls; the second storm begins with the call that the first one no longer meets.
    assert seen == [200, 429, 429, 429, 429, 429, 429, 200, 200]
    assert timed.server.armed() == []
    timed.server.faults([storm])
    reply = ask(timed.http, raw("a"))
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "2")
    assert [fault["kind"] for fault in timed.server.armed()] == ["storm"]
    clock.advance(5)
    assert timed.server.armed() == []


def test_a_server_slows_to_a_stop(caller, raw, begin):
    slowing = {"kind": "slowing", "endpoint": CHAT, "seconds": 0.001, "factor": 2, "stop_after": 3}
    caller.server.faults([slowing])
    assert [ask(caller.http, raw(str(row))).status_code for row in range(3)] == [200] * 3
    connection = begin(caller.http, "POST", "chat/completions", content=raw("3"))
    connection.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        connection.getresponse()
    assert caller.server.ledger()["chat_requests_billed"] == 3


@pytest.mark.parametrize(
    ("answer", "content", "reason"), [("empty", "", "stop"), ("content_filter", None, "content_filter")]
)
def test_an_answer_can_be_useless(caller, raw, answer, content, reason):
    caller.server.faults([{"kind": "chat_answer", "answer": answer}])
    (choice,) = ask(caller.http, raw("a")).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, reason)
    assert caller.server.ledger()["chat_requests_billed"] == 1
    assert ask(caller.http, raw("a")).json()["choices"][0]["message"]["content"]


async def ask_all(server, raws):
    headers = {"authorization": f"Bearer {server.api_key}", "content-type": "application/json"}
    limits = httpx.Limits(max_connections=len(raws))
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, trust_env=False, limits=limits) as http:
        replies = await asyncio.gather(*(http.post("/chat/completions", content=one, timeout=60) for one in raws))
    return [reply.status_code for reply in replies]


def test_many_live_requests_wait_at_once(raw):
    with running(Settings(chat_latency=Latency(0.3))) as server:
        raws = [raw(str(row)) for row in range(32)]
        assert asyncio.run(ask_all(server, raws)) == [200] * 32
        ledger = server.ledger()
        assert ledger["chat_most_at_once"] > 16
        server.reset()
        assert server.ledger()["chat_most_at_once"] == 0
    assert ledger["chat_requests"] == {hashed(one): 1 for one in raws}


def test_an_answer_whose_client_went_away_is_billed_and_lost(raw, begin, until):
    with running(Settings(chat_latency=Latency(3600))) as server, client(server) as http:
        connection = begin(http, "POST", "chat/completions", content=raw("a"))
        until(lambda: server.ledger()["chat_most_at_once"] == 1)
        assert server.ledger()["chat_requests_billed"] == 0
        connection.close()
        until(lambda: server.ledger()["chat_requests_lost"] == 1)
        assert server.ledger()["chat_requests"] == {hashed(raw("a")): 1}


@pytest.mark.parametrize("dialect", ["openai", "mistral", "presigned", "generated:3"])
def test_a_server_without_batches_has_models_and_chat(dialect, raw):
    with running(Settings(dialect=dialect, batches=False)) as server, client(server) as http:
        assert ask(http, raw("a")).status_code == 200
        assert http.get("/models").status_code == 200
        for path in ("/batches", "/batch/jobs", "/files", "/datasets"):
            assert http.get(path).status_code == 404
            assert http.post(path, json={}).status_code == 404
