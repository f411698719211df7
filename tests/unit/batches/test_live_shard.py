import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from greennode_batch.api.async_client import AsyncGreenNodeClient
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.exchange import Reply
from greennode_batch.batches import live_shard
from greennode_batch.batches.live_pace import LiveLimits
from greennode_batch.batches.live_shard import answer_live
from greennode_batch.batches.submit import submit
from greennode_batch.collect.collect import collect_shard
from greennode_batch.errors import AuthError, ConfigError, RetryableError
from greennode_batch.staging.folders import read_json, write_json
from greennode_batch.state.live_answers import LiveFolder, LiveProgress
from greennode_batch.state.receipts import (
    Claim,
    NumberedClaim,
    OvertakenError,
    is_live,
    is_sent,
    latest_claim,
    read_receipt,
    take_claim,
    withdraw,
)
from greennode_emulator.chat_latency import Latency
from greennode_emulator.server import running
from greennode_emulator.settings import Settings


def billed(emulator):
    return emulator.ledger()["chat_requests_billed"]


def segments(shard):
    return sorted(path.name for path in (shard.path / "live").iterdir() if path.suffix == ".jsonl")


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_request_is_answered_once_and_collected_as_those_of_a_batch(make_shard, client, emulator):
    shard = make_shard(*(f"text {number}" for number in range(150)))
    receipt = answer_live(shard, client)
    assert (receipt.state, receipt.live.answered, receipt.live.may_be_paid_twice) == ("answered", 150, 0)
    assert len(lines_of(shard.output)) == 150
    assert collect_shard(shard, client, None) == {"succeeded": 150}
    assert emulator.ledger()["batches_created"] == 0
    assert billed(emulator) == 150
    assert set(emulator.ledger()["chat_requests"].values()) == {1}
    assert read_receipt(shard).state == "collected"


def test_a_shard_that_is_answered_is_not_answered_again(make_shard, client, emulator):
    shard = make_shard()
    first = answer_live(shard, client)
    assert answer_live(shard, client) == first
    assert billed(emulator) == 2


def test_a_worker_that_follows_sends_only_what_no_segment_has(make_shard, client, emulator):
    shard = make_shard(*(f"text {number}" for number in range(100)))
    emulator.faults(
        [{"kind": "status", "endpoint": "POST /chat/completions", "skip": 40, "status": 401, "count": None}]
    )
    with pytest.raises(AuthError, match="saved"):
        answer_live(shard, client)
    before = billed(emulator)
    assert 40 <= before < 100
    emulator.disarm()
    receipt = answer_live(shard, client)
    assert billed(emulator) == 100
    assert (receipt.live.answered, receipt.live.may_be_paid_twice) == (100, 0)
    assert {name.split(".")[0] for name in segments(shard)} == {"1", "2"}


def test_a_reply_that_is_lost_after_the_bill_is_asked_for_again_and_counted(make_shard, client, emulator):
    shard = make_shard("a", "b", "c")
    emulator.faults([{"kind": "reset_after", "endpoint": "POST /chat/completions", "count": 1}])
    receipt = answer_live(shard, client)
    assert (receipt.live.answered, receipt.live.lost) == (3, 1)
    ledger = emulator.ledger()
    assert (ledger["chat_requests_billed"], ledger["chat_requests_lost"]) == (4, 1)
    assert collect_shard(shard, client, None) == {"succeeded": 3}


def test_a_storm_of_429_costs_no_try_and_no_answer(make_shard, client, emulator):
    shard = make_shard(*(f"text {number}" for number in range(20)))
    storm = {"kind": "storm", "endpoint": "POST /chat/completions", "seconds": 1, "headers": {"Retry-After": "1"}}
    emulator.faults([storm])
    receipt = answer_live(shard, client)
    assert (receipt.live.answered, receipt.live.lost) == (20, 0)
    assert billed(emulator) == 20


def test_a_request_that_the_server_rejects_is_a_line_with_its_words(make_shard, client, emulator):
    shard = make_shard("good", "bad")
    emulator.faults(
        [{"kind": "status", "endpoint": "POST /chat/completions", "status": 400, "message": "no such thing"}]
    )
    answer_live(shard, client)
    assert collect_shard(shard, client, None) == {"succeeded": 1, "failed": 1}
    (line,) = [line for line in lines_of(shard.output) if line["response"]["status_code"] == 400]
    assert "no such thing" in line["response"]["body"]["error"]["message"]


@pytest.fixture
def slow():
    """An emulator whose live answers take a while, and a client of it."""
    latency = Latency(0.3)
    with (
        running(Settings(chat_latency=latency)) as emulator,
        GreenNodeClient(emulator.base_url, emulator.api_key) as client,
    ):
        yield emulator, client


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_chat_is_one_error(status, make_shard, client, emulator):
    fault = {"kind": "status", "endpoint": "POST /chat/completions", "status": status, "message": "Not Found"}
    emulator.faults([{**fault, "count": None}])
    shard = make_shard(*(f"text {number}" for number in range(20)))
    with pytest.raises(ConfigError, match="has no chat endpoint"):
        answer_live(shard, client)
    emulator.disarm()
    # Nothing was settled by that.
    assert answer_live(shard, client).live.answered == 20


def test_a_path_that_is_missing_once_among_answers_fails_its_request_alone(make_shard, client, emulator):
    fault = {"kind": "status", "endpoint": "POST /chat/completions", "status": 404, "message": "Not Found"}
    emulator.faults([{**fault, "skip": 9, "count": 1}])
    shard = make_shard(*(f"text {number}" for number in range(20)))
    assert answer_live(shard, client, limits=LiveLimits(max_concurrency=1)).live.answered == 20
    assert collect_shard(shard, client, None) == {"succeeded": 19, "failed": 1}


def test_a_stop_saves_what_came_and_waits_for_no_reply(make_shard, slow):
    emulator, client = slow
    shard = make_shard(*(f"text {number}" for number in range(200)))
    stop = threading.Event()

    def stop_behind_the_first():
        while not LiveFolder(shard).settled()[0]:
            time.sleep(0.02)
        # From here on no request is replied to before the test's own time is up.
        emulator.faults([{"kind": "timeout", "endpoint": "POST /chat/completions", "count": None}])
        stop.set()

    threading.Thread(target=stop_behind_the_first).start()
    with pytest.raises(RetryableError, match="stopped"):
        answer_live(shard, client, stop=stop)
    emulator.disarm()
    settled, _ = LiveFolder(shard).settled()
    assert settled
    # The page reads how far the worker is.
    noted = read_json(shard.path / "live" / "1.now.json", LiveProgress)
    assert 0 <= noted.settled <= len(settled)
    in_flight = LiveFolder(shard).ended(1).in_flight
    receipt = answer_live(shard, client)
    assert receipt.live.in_flight == in_flight > 0
    assert receipt.live.answered == 200
    assert 200 <= billed(emulator) <= 200 + in_flight


def test_a_request_that_misses_a_cancel_is_cancelled_again(make_shard, slow, monkeypatch):
    """As it may happen to one that is about to connect."""
    _, client = slow
    shard = make_shard("text 1", "text 2")
    stop = threading.Event()

    async def missing_a_cancel(self, custom_id, body):
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(600)
        await asyncio.sleep(600)

    monkeypatch.setattr(AsyncGreenNodeClient, "chat_reply", missing_a_cancel)
    with pytest.raises(RetryableError, match="stopped"):
        answer_live(shard, client, stop=stop)
    assert LiveFolder(shard).ended(1).in_flight > 0


def test_at_the_deadline_the_rest_is_expired_and_asked_again(make_shard, slow):
    _, client = slow
    shard = make_shard(*(f"text {number}" for number in range(60)))
    receipt = answer_live(shard, client, limits=LiveLimits(max_concurrency=4), not_after=time.time() + 2.0)
    assert 0 < receipt.live.answered < 60
    assert receipt.ended.status == "EXPIRED"
    assert receipt.live.in_flight <= 4
    counts = collect_shard(shard, client, None)
    assert counts == {"succeeded": receipt.live.answered, "expired": 60 - receipt.live.answered}


def test_after_a_kill_no_more_is_paid_again_than_was_in_flight(make_shard, slow, tmp_path):
    emulator, client = slow
    shard = make_shard(*(f"text {number}" for number in range(120)))
    program = (
        "import sys\n"
        "from upath import UPath\n"
        "from greennode_batch.api.client import GreenNodeClient\n"
        "from greennode_batch.batches.live_shard import answer_live\n"
        "from greennode_batch.staging.folders import ShardFolder\n"
        "answer_live(ShardFolder(UPath(sys.argv[1])), GreenNodeClient(sys.argv[2], sys.argv[3]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(shard), emulator.base_url, emulator.api_key])
    while not shard.claim(1).exists() or not LiveFolder(shard).settled()[0]:
        time.sleep(0.02)
    process.kill()
    process.wait()
    receipt = answer_live(shard, client)
    assert receipt.live.answered == 120
    assert 120 <= billed(emulator) <= 120 + receipt.live.may_be_paid_twice
    assert collect_shard(shard, client, None) == {"succeeded": 120}


def test_a_worker_that_was_overtaken_stops_and_says_so(make_shard, slow):
    emulator, client = slow
    shard = make_shard(*(f"text {number}" for number in range(60)))
    errors = []

    def first():
        with pytest.raises(OvertakenError) as caught:
            answer_live(shard, client, limits=LiveLimits(max_concurrency=4))
        errors.append(caught.value)

    worker = threading.Thread(target=first)
    worker.start()
    while not shard.claim(1).exists():
        time.sleep(0.02)
    # This process is the same, so it is not known to be dead only by its host's name.
    claim = msgspec.structs.replace(latest_claim(shard).claim, token="elsewhere:1:x")
    write_json(shard.claim(1), claim)
    receipt = answer_live(shard, client, limits=LiveLimits(max_concurrency=4))
    worker.join()
    assert errors
    assert receipt.live.answered == 60
    assert billed(emulator) == 60


def test_a_shard_with_a_batch_is_not_answered_live_and_the_other_way_round(make_shard, client, emulator):
    batch, live = make_shard("a"), make_shard("b")
    receipt = submit(batch, client)
    assert answer_live(batch, client) == receipt
    answer_live(live, client)
    with pytest.raises(RetryableError, match="answered live"):
        submit(live, client)
    assert emulator.ledger()["batches_created"] == 1
    assert not is_live(batch)
    assert is_live(live)


def test_a_shard_whose_create_is_in_doubt_is_not_answered_live(make_shard, client, emulator):
    shard = make_shard()
    take_claim(shard, NumberedClaim(1, Claim("other", "file_1", time.time())))
    with pytest.raises(RetryableError, match="being sent as a batch"):
        answer_live(shard, client)
    assert billed(emulator) == 0


def test_a_shard_that_is_answered_live_is_not_withdrawn_and_one_withdrawn_not_answered(make_shard, client, emulator):
    answered, withdrawn = make_shard("a"), make_shard("b")
    answer_live(answered, client)
    assert not withdraw(answered, now=time.time(), turn=2)
    assert is_sent(answered)
    assert withdraw(withdrawn, now=time.time(), turn=2)
    with pytest.raises(ConfigError, match="withdrawn"):
        answer_live(withdrawn, client)


def test_output_is_put_together_again_by_whoever_collects(make_shard, client):
    shard = make_shard()
    answer_live(shard, client)
    shard.output.unlink()
    assert collect_shard(shard, client, None) == {"succeeded": 2}


def test_a_reply_on_several_lines_is_one_line_of_output(make_shard, client, emulator):
    body = b'{\n  "choices": [],\r\n "usage": null\n}'
    line = live_shard._answer_line("a", Reply(200, {}, body), seconds=1.0)
    assert b"\n" not in line
    assert json.loads(line)["response"]["body"] == {"choices": [], "usage": None}


def test_the_server_that_stops_is_left_alone(make_shard, client, emulator, monkeypatch):
    monkeypatch.setattr(live_shard, "_STALL_SECONDS", 0.5)
    monkeypatch.setattr(live_shard, "_STALL_FACTOR", 1.0)
    shard = make_shard(*(f"text {number}" for number in range(40)))
    slowing = {"kind": "slowing", "seconds": 0.01, "factor": 1.0, "stop_after": 20}
    emulator.faults([{**slowing, "endpoint": "POST /chat/completions"}])
    with pytest.raises(RetryableError, match="answered none of"):
        answer_live(shard, client)
    emulator.disarm()
    assert answer_live(shard, client).live.answered == 40


def test_the_requests_of_a_minute_are_kept_to(make_shard, client, emulator):
    shard = make_shard("a", "b", "c")
    limits = LiveLimits(max_requests_per_minute=120)
    began = time.monotonic()
    answer_live(shard, client, limits=limits)
    assert time.monotonic() - began > 0.5
