"""A shard that one batch cannot take: when that is known, into what it is split, and what no kill may do to it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from upath import UPath

from greennode_batch.batches.live_choice import goes_live
from greennode_batch.batches.submit import submit
from greennode_batch.batches.throttle.shard_tokens import prompt_tokens_of
from greennode_batch.batches.wait import SendAgain, poll
from greennode_batch.errors import BusyError, ConfigError, RejectedError, RetryableError, SplitError
from greennode_batch.job.live_mode import Live
from greennode_batch.request.request_lines import lines_of
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.enqueued_limit import EnqueuedLimits
from greennode_batch.state.receipts import (
    Claim,
    NumberedClaim,
    is_sent,
    latest_claim,
    read_receipt,
    take_claim,
    withdraw,
)
from greennode_batch.state.split import SplitBegun, halves_of, note_split_begun, parts_of, read_split

# Long enough that what the server adds for each message hardly counts.
TEXTS = [f"row {number} says {'something ' * (50 * (number % 3 + 1))}" for number in range(8)]
MODEL = "google/gemma-4-31b-it"


def over(tokens, **more):
    return {"kind": "enqueued_limit", "count": 1_000, "tokens": tokens, "at": "create", **more}


@pytest.fixture
def shard(make_shard):
    return make_shard(*TEXTS)


@pytest.fixture
def limits(tmp_path):
    return EnqueuedLimits(UPath(tmp_path / "staging" / ".line" / "conn"))


def sent_in_parts(shard, client, limits=None, clock=None):
    """Submit a shard, and its parts in its place; returns their folders."""
    todo, sent = [shard], []
    for _ in range(100):
        if not todo:
            return sent
        one = todo.pop(0)
        try:
            submit(one, client, limits=limits, **({"clock": clock} if clock else {}))
            sent.append(one)
        except SplitError:
            todo += parts_of(one)
        except BusyError:
            todo.append(one)  # the other half is enqueued
    pytest.fail("never sent")


def batches(client):
    return list(client.list_batches())


def test_a_limit_below_the_shard_splits_it_until_its_parts_fit(shard, client, emulator, clock):
    tokens = prompt_tokens_of(shard)
    emulator.faults([over(round(tokens * 0.4), at="create")])
    with pytest.raises(SplitError, match=r"limit: about .*Enqueued token limit reached.*Nothing was paid"):
        submit(shard, client, clock=clock)
    parts = parts_of(shard)
    assert len(parts) == 4, "the halves are split as well, without another call"
    assert [line for part in parts for line in lines_of(part)] == list(lines_of(shard))
    assert all(prompt_tokens_of(part) <= tokens * 0.4 for part in parts)
    assert abs(sum(map(prompt_tokens_of, parts)) - tokens) <= len(parts)
    emulator.disarm()
    assert len({submit(part, client).batch_id for part in parts}) == 4
    assert len(batches(client)) == 4
    assert read_receipt(shard).batch_id is None
    with pytest.raises(SplitError):
        submit(shard, client)
    assert len(batches(client)) == 4, "the shard itself is never sent"


def test_the_halves_are_about_as_large_as_each_other(make_shard, client, emulator):
    shard = make_shard("x" * 4000, *TEXTS, "y" * 2000)
    emulator.faults([over(round(prompt_tokens_of(shard) * 0.9))])
    with pytest.raises(SplitError):
        submit(shard, client)
    first, second = (half.bytes for half in read_split(shard).halves)
    assert abs(first - second) <= 2 * max(map(len, lines_of(shard)))


def test_a_limit_that_is_not_named_is_believed_after_two_refusals_while_nothing_else_is_enqueued(
    shard, client, emulator, clock
):
    emulator.faults([over(10, named=False)])
    with pytest.raises(BusyError) as first:
        submit(shard, client, clock=clock)
    assert not isinstance(first.value, SplitError)
    assert read_split(shard) is None
    with pytest.raises(SplitError):
        submit(shard, client, clock=clock)
    assert len(parts_of(shard)) == 2


def test_a_shard_waits_while_another_batch_is_enqueued(make_shard, shard, client, emulator, clock):
    emulator.faults([{"kind": "stuck", "status": "validating", "seconds": None}])
    other = submit(make_shard("another"), client)
    emulator.faults([over(10, named=False)])
    for _ in range(4):
        with pytest.raises(BusyError) as waits:
            submit(shard, client, clock=clock)
        assert not isinstance(waits.value, SplitError)
    client.cancel_batch(other.batch_id)
    while not client.get_batch(other.batch_id).status.is_terminal:
        pass
    for kind in (BusyError, SplitError):
        with pytest.raises(kind):
            submit(shard, client, clock=clock)


def test_a_named_limit_above_the_shard_is_waited_for(make_shard, shard, client, emulator, clock):
    emulator.faults([{"kind": "stuck", "status": "validating", "seconds": None}, over(100_000)])
    submit(make_shard(*["many words " * 50] * 3), client)
    emulator.disarm()
    words = f"Enqueued token limit reached. Limit: {prompt_tokens_of(shard) + 1} tokens"
    refusal = {"kind": "status", "endpoint": "POST /batches", "status": 429, "message": words, "count": 3}
    emulator.faults([refusal])
    for _ in range(3):
        with pytest.raises(BusyError) as waits:
            submit(shard, client, clock=clock)
        assert not isinstance(waits.value, SplitError)
    assert submit(shard, client, clock=clock).batch_id


def test_other_refusals_split_nothing(shard, client, emulator, clock):
    words = {"code": "rate_limit_exceeded", "message": "Too many requests"}
    emulator.faults([{"kind": "status", "endpoint": "POST /batches", "status": 429, "count": 5, **words}])
    for _ in range(5):
        with pytest.raises(BusyError) as waits:
            submit(shard, client, clock=clock)
        assert not isinstance(waits.value, SplitError)
    assert submit(shard, client, clock=clock).batch_id


@pytest.mark.parametrize("named", [True, False])
def test_a_batch_that_the_server_ends_for_the_limit_is_split_when_it_is_sent_again(
    shard, client, emulator, clock, named
):
    emulator.faults([over(10, at="batch", named=named)])
    for _ in range(1 if named else 2):
        submit(shard, client, clock=clock)
        while not isinstance(poll(shard, client, now=clock()), SendAgain):
            pass
    with pytest.raises(SplitError):
        submit(shard, client, clock=clock)
    half = halves_of(shard)[0]
    assert poll(half, client, now=clock()) == SendAgain(0.0) or read_split(half) is not None


def test_a_single_request_that_is_too_large_ends_with_the_limit_in_its_error(make_shard, client, emulator, clock):
    shard = make_shard("only one")
    emulator.faults([over(3)])
    with pytest.raises(BusyError):
        submit(shard, client, clock=clock)
    with pytest.raises(RejectedError, match=r"only request.*Limit: 3 enqueued tokens.*Nothing was paid"):
        submit(shard, client, clock=clock)
    assert batches(client) == []
    emulator.disarm()
    submit(shard, client, clock=clock)


def test_the_limit_is_remembered_for_the_connection_and_costs_no_call(make_shard, client, emulator, clock, limits):
    first, second = make_shard(*TEXTS), make_shard(*(f"more {text}" for text in TEXTS))
    emulator.faults([over(round(prompt_tokens_of(first) * 0.7))])
    assert len(sent_in_parts(first, client, limits, clock)) == 2
    known = limits.by_model(now=clock())[MODEL]
    assert (known.tokens, known.named) == (round(prompt_tokens_of(first) * 0.7), True)
    uploads = emulator.ledger()["files_uploaded"]
    with pytest.raises(SplitError, match="learned earlier"):
        submit(second, client, limits=limits, clock=clock)
    assert emulator.ledger()["files_uploaded"] == uploads
    assert not second.uploading.exists()
    clock.now += 31 * 86_400
    assert limits.by_model(now=clock()) == {}, "a limit may have been raised"


def test_a_guessed_limit_is_forgotten_after_a_day(shard, client, emulator, clock, limits):
    emulator.faults([over(10, named=False, count=2)])
    for kind in (BusyError, SplitError):
        with pytest.raises(kind):
            submit(shard, client, limits=limits, clock=clock)
    assert 0.5 < limits.by_model(now=clock())[MODEL].tokens / prompt_tokens_of(shard) < 1
    clock.now += 25 * 3600
    assert limits.by_model(now=clock()) == {}


def test_a_single_request_waits_while_no_limit_is_named(make_shard, client, emulator, clock):
    shard = make_shard("only one")
    emulator.faults([over(3, named=False, count=6)])
    for _ in range(6):
        with pytest.raises(BusyError):
            submit(shard, client, clock=clock)
    assert submit(shard, client, clock=clock).batch_id


def test_a_half_takes_more_refusals_than_its_shard(shard, client, emulator, clock):
    """The list of a key may not show what else is enqueued in its account: no shard may fall to pieces at once."""
    emulator.faults([over(10, named=False)])
    kinds = []
    while len(parts_of(shard)) < 3:
        with pytest.raises(BusyError) as error:
            submit(parts_of(shard)[0], client, clock=clock)
        kinds.append(type(error.value))
    assert kinds == [BusyError, SplitError, BusyError, BusyError, SplitError]


def test_another_model_and_another_connection_have_limits_of_their_own(make_shard, client, emulator, clock, limits):
    emulator.faults([over(10)])
    with pytest.raises(SplitError):
        submit(make_shard(*TEXTS), client, limits=limits, clock=clock)
    emulator.disarm()
    assert submit(make_shard(*TEXTS, model="qwen/qwen3.6-flash"), client, limits=limits, clock=clock).batch_id
    others = EnqueuedLimits(limits.folder.parent / "other")
    assert submit(make_shard(*TEXTS), client, limits=others, clock=clock).batch_id


def test_a_batch_whose_create_got_no_reply_is_adopted_and_its_shard_not_split(
    shard, make_shard, client, emulator, clock, limits
):
    emulator.faults([{"kind": "reset_after", "endpoint": "POST /batches"}])
    emulator.faults([{"kind": "status", "endpoint": "GET /batches", "status": 503, "count": 100}])
    with pytest.raises(RetryableError):
        submit(shard, client, clock=clock, sleep=clock.sleep)
    emulator.disarm()
    emulator.faults([over(10)])
    with pytest.raises(SplitError):
        submit(make_shard(*TEXTS[:4]), client, limits=limits, clock=clock)
    assert submit(shard, client, limits=limits, clock=clock, sleep=clock.sleep).batch_id == batches(client)[0].id
    assert read_split(shard) is None


class Killed(BaseException):
    """What no code of ours catches."""


def killed_at(monkeypatch, step):
    """Have the n-th file that lands be the last thing that this process does; returns what counts them."""
    landed = []
    for name in ("replace", "hardlink_to"):
        act = getattr(Path, name)

        def stepped(*arguments, act=act):
            result = act(*arguments)
            landed.append(arguments)
            if len(landed) == step:
                raise Killed
            return result

        monkeypatch.setattr(Path, name, stepped)
    return landed


def test_a_split_that_is_killed_after_any_of_its_files_is_finished(make_shard, client, emulator, clock):
    whole = make_shard(*TEXTS[:3])
    limit = round(prompt_tokens_of(whole) * 0.45)
    emulator.faults([over(limit)])
    with pytest.raises(SplitError):
        submit(whole, client, clock=clock)
    wanted = [part.shard_id for part in parts_of(whole)]
    assert len(wanted) == 3
    step, is_killed = 0, True
    while is_killed:
        step += 1
        shard = make_shard(*TEXTS[:3])
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, step)
            try:
                with pytest.raises(SplitError):
                    submit(shard, client, clock=clock)
                is_killed = False
            except Killed:
                pass
        while left := [part for part in parts_of(shard) if part.shard_id not in wanted]:
            with pytest.raises(RetryableError):
                submit(left[0], client, clock=clock, sleep=clock.sleep)
        assert [part.shard_id for part in parts_of(shard)] == wanted, step
        assert [line for part in parts_of(shard) for line in lines_of(part)] == list(lines_of(shard))
    assert step > 12
    assert batches(client) == [], "nothing over the limit was ever sent"


def test_two_workers_on_one_shard_come_to_one_split(shard, client, emulator):
    emulator.faults([over(round(prompt_tokens_of(shard) * 0.7))])
    start = threading.Barrier(2)

    def work():
        start.wait()
        ends = []
        while not ends or ends[-1] is BusyError:
            try:
                submit(shard, client)
            except BusyError as error:
                ends.append(type(error))
        return ends[-1], [half.shard_id for half in halves_of(shard)]

    with ThreadPoolExecutor(2) as pool:
        first, second = [future.result() for future in [pool.submit(work), pool.submit(work)]]
    assert first == second
    assert first[0] is SplitError
    assert batches(client) == []


def test_a_shard_whose_split_was_begun_is_not_answered_live(make_shard, make_job):
    shard = make_shard(*TEXTS[:2])
    job = make_job(live=Live(under=10))
    assert goes_live(job, shard)
    note_split_begun(shard, SplitBegun(prompt_tokens=10, limit=6, words="too large"))
    assert take_claim(shard, NumberedClaim(1, Claim("killed", "", 0.0, released=True, splits=True)))
    assert not goes_live(job, shard)
    assert not is_sent(shard)


def split_one(shard, client, emulator):
    emulator.faults([over(round(prompt_tokens_of(shard) * 0.7))])
    with pytest.raises(SplitError):
        submit(shard, client)
    emulator.disarm()
    return halves_of(shard)


def test_a_shard_counts_as_sent_once_one_of_its_halves_is(shard, client, emulator):
    first, second = split_one(shard, client, emulator)
    assert not is_sent(shard)
    submit(second, client)
    assert is_sent(shard)
    assert not withdraw(shard, now=0.0, turn=2), "it stays with all its rows"
    assert submit(second, client).batch_id
    assert first.path.exists()


def test_the_halves_of_a_withdrawn_shard_are_not_sent(shard, client, emulator):
    halves = split_one(shard, client, emulator)
    assert withdraw(shard, now=0.0, turn=2)
    for half in halves:
        with pytest.raises(ConfigError, match="withdrawn"):
            submit(half, client)
    assert batches(client) == []


def test_a_half_that_was_split_off_after_the_withdrawal_is_not_sent(shard, client, emulator):
    """A worker that was paused in the middle of a split wakes up after a build has withdrawn the shard."""
    split = shard.split
    halves = split_one(shard, client, emulator)
    written = split.read_bytes()
    split.unlink()
    assert withdraw(shard, now=0.0, turn=2)
    split.write_bytes(written)
    for half in halves:
        assert latest_claim(half) is None
        with pytest.raises(ConfigError, match="withdrawn"):
            submit(half, client)
    assert batches(client) == []


def test_a_shard_of_no_run_waits(tmp_path, client, emulator, shard, clock):
    alone = ShardFolder(UPath(tmp_path / "elsewhere" / "my-shard"))
    alone.path.mkdir(parents=True)
    alone.requests.write_bytes(shard.requests.read_bytes())
    emulator.faults([over(10)])
    for _ in range(3):
        with pytest.raises(BusyError) as waits:
            submit(alone, client, clock=clock)
        assert not isinstance(waits.value, SplitError)
