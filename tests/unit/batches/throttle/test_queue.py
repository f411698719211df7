import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.batches.submit import submit
from greennode_batch.batches.throttle import queue as line_module
from greennode_batch.batches.throttle.limits import Limits
from greennode_batch.batches.throttle.queue import SubmitQueue
from greennode_batch.batches.throttle.queue_folder import queue_folder
from greennode_batch.errors import BusyError, ConfigError, CreditError, RejectedError, RetryableError, SplitError
from greennode_batch.staging.folders import ShardFolder, remove_tree
from greennode_batch.state.receipts import Receipt, read_receipt, withdraw, write_receipt

HOUR = 3600.0
DAY = 24 * HOUR


class Server:
    """A client whose server has these batches open, and says of any other that it has ended."""

    host = "host"

    def __init__(self):
        self.open = set()
        self.requested = 0

    def get_batch(self, batch_id):
        self.requested += 1
        status = BatchStatus.IN_PROGRESS if batch_id in self.open else BatchStatus.COMPLETED
        return Batch(id=batch_id, status=status, raw_status=status.name)


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def folder(tmp_path):
    return queue_folder(UPath(tmp_path / "staging"), "greennode_default")


@pytest.fixture
def make_line(folder, server, clock):
    def make(**limits):
        return SubmitQueue(folder, Limits(**limits), server, clock=clock)

    return make


@pytest.fixture
def new_shard(tmp_path):
    """Shards of no run, of so many bytes: four are one token."""
    count = iter(range(10_000))

    def make(size=4):
        shard = ShardFolder(UPath(tmp_path / "staging" / "mine" / f"shard-{next(count)}"))
        shard.path.mkdir(parents=True)
        shard.requests.write_bytes(b"x" * size)
        return shard

    return make


def set_receipt(shard, receipt):
    """Whatever the shard's receipt was, it is this one from now on."""
    before = read_receipt(shard)
    return write_receipt(shard, msgspec.structs.replace(receipt, number=before.number if before else 0))


def begin(shard, *, now):
    """What an upload leaves."""
    shard.uploading.write_text("{}")
    return set_receipt(shard, Receipt(shard.shard_id, "uploaded", "file", "host", uploaded_at=now))


def send(line, shard, server, *, now):
    """Send a shard; False where it has to wait."""
    try:
        with line.admit(shard):
            begin(shard, now=now)
            batch_id = f"batch of {shard.shard_id}"
            server.open.add(batch_id)
            set_receipt(shard, Receipt(shard.shard_id, "created", "file", "host", batch_id, now, now))
    except BusyError:
        return False
    return True


def upload_and_stop(line, shard, error, *, now):
    """Have the turn, upload, and stop with an error; until when the turn would have been."""
    until = None

    def stop():
        nonlocal until
        with line.admit(shard) as until:
            begin(shard, now=now)
            raise error

    with pytest.raises(type(error)):
        stop()
    return until


def collect(shard, server):
    receipt = read_receipt(shard)
    server.open.discard(receipt.batch_id)
    set_receipt(shard, Receipt(shard.shard_id, "collected", "file", "host", receipt.batch_id))


def test_shards_go_in_the_order_in_which_they_came(make_line, new_shard, server, clock):
    line, shards = make_line(max_batches_in_flight=1), [new_shard() for _ in range(4)]
    assert send(line, shards[0], server, now=clock())
    for shard in shards[1:]:
        clock.now += 1
        assert not send(line, shard, server, now=clock())
    for admit in range(1, 4):
        collect(shards[admit - 1], server)
        clock.now += 1
        for position in (3, 2, 1):
            if position > admit:
                assert not send(line, shards[position], server, now=clock())
        assert send(line, shards[admit], server, now=clock())


def test_a_shard_that_waits_is_told_how_many_are_ahead_and_waits_longer_each_time(make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    send(line, new_shard(), server, now=clock())
    first, second = new_shard(), new_shard()
    send(line, first, server, now=clock())
    clock.now += 1
    pauses = []
    for _ in range(3):
        with (
            pytest.raises(BusyError, match=r"waits in the connection's queue .*_in_flight 1.*ahead of it: 1") as busy,
            line.admit(second),
        ):
            pass
        pauses.append(busy.value.retry_after)
    assert 7.5 <= pauses[0] <= 15 <= pauses[1] <= 30 <= pauses[2] <= 60
    with pytest.raises(BusyError, match="ahead of it: 0, and under way: 1"), line.admit(first):
        pass


def test_a_batch_that_has_ended_makes_room_before_anybody_collects_it_and_only_the_first_asks(
    make_line, new_shard, server, clock
):
    line = make_line(max_batches_in_flight=2)
    sent = [new_shard(), new_shard()]
    for shard in sent:
        assert send(line, shard, server, now=clock())
    waiting = [new_shard() for _ in range(5)]
    for shard in waiting:
        clock.now += 1
        assert not send(line, shard, server, now=clock())
    assert server.requested == 2, "those behind know that there is no room"
    server.open.clear()
    assert not send(line, waiting[2], server, now=clock())
    assert send(line, waiting[0], server, now=clock())
    assert send(line, waiting[1], server, now=clock())
    assert not send(line, waiting[2], server, now=clock())


def test_tokens_are_counted_and_a_shard_that_is_too_large_goes_alone(make_line, new_shard, server, clock):
    line = make_line(max_enqueued_tokens=100)
    small, other, large, late = (new_shard(size) for size in (160, 160, 4_000, 40))
    assert send(line, small, server, now=clock())
    assert send(line, other, server, now=clock())
    clock.now += 1
    assert not send(line, large, server, now=clock())
    clock.now += 1
    assert not send(line, late, server, now=clock()), "what is small does not overtake what is large"
    collect(small, server)
    assert not send(line, large, server, now=clock())
    collect(other, server)
    assert not send(line, late, server, now=clock())
    assert send(line, large, server, now=clock())
    assert not send(line, late, server, now=clock())
    collect(large, server)
    assert send(line, late, server, now=clock())


def test_of_those_who_wait_nobody_waits_for_one_that_was_stopped(make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    first, stopped, last = new_shard(), new_shard(), new_shard()
    send(line, first, server, now=clock())
    assert not send(line, stopped, server, now=clock())
    clock.now += 1
    assert not send(line, last, server, now=clock())
    collect(first, server)
    assert not send(line, last, server, now=clock())
    clock.now += HOUR
    assert send(line, last, server, now=clock())
    assert not send(line, stopped, server, now=clock())


def test_a_shard_whose_worker_was_stopped_finds_its_admission(make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    stopped, other = new_shard(), new_shard()
    upload_and_stop(line, stopped, RetryableError("the network is down"), now=clock())
    assert not send(line, other, server, now=clock())
    assert send(line, stopped, server, now=clock())


def test_an_admission_that_is_not_used_in_time_is_void_for_all(make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    stopped, other = new_shard(), new_shard()
    until = upload_and_stop(line, stopped, KeyboardInterrupt(), now=clock())
    clock.now = until
    assert not send(line, other, server, now=clock()), "its create may be under way"
    clock.now += HOUR
    assert send(line, other, server, now=clock())
    assert not send(line, stopped, server, now=clock())


def test_a_shard_that_was_late_comes_back_to_its_old_place(make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    late, other = new_shard(), new_shard()
    until = upload_and_stop(line, late, RetryableError("the network is down"), now=clock())
    clock.now += 1
    assert not send(line, other, server, now=clock())
    clock.now = until
    assert send(line, late, server, now=clock())
    assert not send(line, other, server, now=clock())


@pytest.mark.parametrize("error", [RejectedError("no"), CreditError("no"), ConfigError("no")])
def test_a_shard_that_cannot_be_sent_makes_room_at_once(error, make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    with pytest.raises(type(error)), line.admit(new_shard()):
        raise error
    assert send(line, new_shard(), server, now=clock())


def test_a_shard_that_was_split_makes_room_for_its_halves_at_once(make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    with pytest.raises(SplitError), line.admit(new_shard()):
        raise SplitError("it is larger than one batch may be")
    assert send(line, new_shard(), server, now=clock())


def test_a_shard_that_was_turned_away_keeps_its_place_while_it_is_sent_again(make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    away, other = new_shard(), new_shard()
    assert send(line, away, server, now=clock())
    receipt = Receipt(away.shard_id, "uploaded", "file", "host", uploaded_at=clock(), over_capacity=("batch",))
    set_receipt(away, receipt)
    clock.now += 5 * HOUR
    assert not send(line, other, server, now=clock())
    assert send(line, away, server, now=clock())
    set_receipt(away, receipt)
    clock.now += DAY
    assert send(line, other, server, now=clock()), "by then nobody sends it any more"


def given_up(shard):
    set_receipt(shard, Receipt(shard.shard_id, "created", "file", "host", "batch", lost="forgotten"))


def sent_elsewhere(shard):
    set_receipt(shard, Receipt(shard.shard_id, "created", "file", "another", "batch"))


def taken_back(shard):
    for receipt in shard.path.glob("receipt*.json"):
        receipt.unlink()
    withdraw(shard, now=0, turn=1)


@pytest.mark.parametrize("end", [given_up, sent_elsewhere, taken_back])
def test_what_is_not_under_way_any_more_makes_room(end, make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    shard, other = new_shard(), new_shard()
    send(line, shard, server, now=clock())
    assert not send(line, other, server, now=clock())
    end(shard)
    assert send(line, other, server, now=clock())


def test_a_run_that_is_gone_makes_room_and_a_receipt_that_cannot_be_read_does_not(make_line, new_shard, server, clock):
    line = make_line(max_batches_in_flight=1)
    shard, other, third = new_shard(), new_shard(), new_shard()
    send(line, shard, server, now=clock())
    remove_tree(shard.path)
    clock.now += 2 * HOUR
    assert send(line, other, server, now=clock())
    other.receipt.write_text("?")
    clock.now += 2 * HOUR
    assert not send(line, third, server, now=clock())


def test_what_is_over_for_long_is_removed_and_its_number_is_not_used_again(make_line, new_shard, server, clock, folder):
    line = make_line(max_batches_in_flight=1)
    for number in range(1, 5):
        shard = new_shard()
        assert send(line, shard, server, now=clock())
        collect(shard, server)
        assert (folder / f"in-{number}.json").exists()
        clock.now += 2 * HOUR
    # Removed by the next that is admitted after it is known to be over.
    assert sorted(path.name for path in folder.iterdir()) == ["in-3.json", "in-4.json", "out-3.json"]


def test_the_tokens_of_a_shard_are_those_of_its_plan(make_shard, make_line, clock, server, new_shard):
    shard = make_shard("x" * 400)
    line = make_line(max_enqueued_tokens=101)
    assert send(line, shard, server, now=clock())
    assert send(line, new_shard(4), server, now=clock())
    assert not send(line, new_shard(4), server, now=clock())


class Interleaved:
    """Workers whose steps are mixed: before each step on the folder of one, others may do all of theirs."""

    def __init__(self, draw, folder, others):
        self._draw = draw
        self._folder = folder
        self._others = others
        self._depth = 0

    def __getattr__(self, name):
        step = getattr(self._folder, name)

        def mixed(*args, **kwargs):
            while self._depth < 3 and self._draw(st.integers(0, 2)) == 0:
                self._depth += 1
                try:
                    self._draw(st.sampled_from(self._others))()
                finally:
                    self._depth -= 1
            return step(*args, **kwargs)

        return mixed


class Crowd:
    """Shards of these tokens before one line, each with a worker and a clock of its own."""

    def __init__(self, root, limits, sizes, skews):
        self.limits = limits
        self.sizes = sizes
        self.server = Server()
        self.waiting = dict(enumerate(map(self._shard, [root] * len(sizes), range(len(sizes)))))
        self.under_way = {}
        self.over = set()
        self.lines = [
            SubmitQueue(queue_folder(root, "c"), limits, self.server, clock=lambda skew=skew: 1e9 + skew)
            for skew in skews
        ]

    def _shard(self, root, number):
        shard = ShardFolder(root / "mine" / f"shard-{number}")
        shard.requests.write_bytes(b"x" * 4 * self.sizes[number])
        return shard

    def attempt(self, number):
        if number not in self.waiting:
            return
        shard = self.waiting.pop(number)
        try:
            with self.lines[number].admit(shard):
                self.under_way[number] = shard
                receipt = begin(shard, now=1e9)
                self.server.open.add(shard.shard_id)
                set_receipt(shard, msgspec.structs.replace(receipt, state="created", batch_id=shard.shard_id))
        except BusyError:
            self.waiting[number] = shard
        tokens = [self.sizes[one] for one in self.under_way]
        assert len(tokens) < 2 or self.limits.allow(tokens[1:], tokens[0])

    def end(self, number):
        if number in self.under_way:
            collect(self.under_way.pop(number), self.server)
            self.over.add(number)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_however_the_steps_of_workers_mix_the_limits_hold_and_everybody_gets_in(data):
    sizes = data.draw(st.lists(st.integers(1, 12), min_size=2, max_size=6), label="tokens")
    limits = Limits(data.draw(st.none() | st.integers(1, 3)), data.draw(st.integers(4, 16)))
    skews = data.draw(st.lists(st.integers(-5, 5), min_size=len(sizes), max_size=len(sizes)))
    # The same place each time: a shard's name in the line, which decides who is first of two, is made of it.
    remove_tree(root := UPath("memory://crowd"))
    crowd = Crowd(root, limits, sizes, skews)
    everyone = range(len(sizes))
    steps = [partial(do, number) for number in everyone for do in (crowd.attempt, crowd.end)]
    folders = [line._folder for line in crowd.lines]
    for line in crowd.lines:
        line._folder = Interleaved(data.draw, line._folder, steps)
    for step in data.draw(st.lists(st.sampled_from(steps), max_size=15)):
        step()
    # Then each goes on by itself, and nobody is left behind.
    for line, folder in zip(crowd.lines, folders, strict=True):
        line._folder = folder
    for _ in everyone:
        for number in everyone:
            crowd.attempt(number)
        for number in everyone:
            crowd.end(number)
    assert crowd.over == set(everyone)


def test_of_many_who_come_at_once_no_more_are_admitted_than_may_be(folder, new_shard, server):
    shards = [new_shard() for _ in range(24)]
    barrier = threading.Barrier(12)
    most = []
    admitted, ended = set(), set()

    def work(mine):
        line = SubmitQueue(folder, Limits(max_batches_in_flight=3), server)
        barrier.wait()
        while mine:
            for shard in list(mine):
                try:
                    with line.admit(shard):
                        admitted.add(shard.shard_id)
                        most.append(len(admitted - ended))
                        set_receipt(shard, Receipt(shard.shard_id, "created", "file", "host", "batch"))
                except BusyError:
                    continue
                ended.add(shard.shard_id)
                set_receipt(shard, Receipt(shard.shard_id, "collected", "file", "host", "batch"))
                mine.remove(shard)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, [shards[number::12] for number in range(12)]))
    assert len(most) == 24
    assert max(most) <= 3


def test_a_worker_that_was_held_up_between_its_look_and_its_admission_is_not_let_in(
    make_line, new_shard, server, clock, monkeypatch
):
    line = make_line(max_batches_in_flight=1)
    admit = line._folder.admit
    held_up = iter([HOUR, 0.0])

    def slow(admission):
        clock.now += next(held_up)
        return admit(admission)

    monkeypatch.setattr(line._folder, "admit", slow)
    with line.admit(new_shard()) as until:
        assert until - clock.now > line_module._DECISION_SECONDS
    assert [path.name for path in line._folder.path.iterdir() if path.name.startswith("out")] == ["out-1.json"]


def test_a_submitted_shard_passes_at_once_and_a_waiting_one_has_sent_nothing(make_shard, client, emulator, folder):
    emulator.faults([{"kind": "stuck", "status": "in_progress"}])
    sent, waiting = make_shard("one"), make_shard("two")
    line = SubmitQueue(folder, Limits(max_batches_in_flight=1), client)
    receipt = submit(sent, client, admit=line.admit)
    with pytest.raises(BusyError, match="waits in the connection's queue"):
        submit(waiting, client, admit=line.admit)
    ledger = emulator.ledger(summary=True)
    assert (ledger["batches_created"], ledger["files_uploaded"]) == (1, 1)
    files = sorted(folder.iterdir())
    assert submit(sent, client, admit=line.admit) == receipt
    assert sorted(folder.iterdir()) == files
    client.cancel_batch(receipt.batch_id)
    while not client.get_batch(receipt.batch_id).status.is_terminal:
        pass
    assert submit(waiting, client, admit=line.admit).batch_id not in {None, receipt.batch_id}


def test_a_create_is_not_sent_after_the_turn_is_over(make_shard, client, emulator, folder, monkeypatch):
    shard = make_shard()
    line = SubmitQueue(folder, Limits(max_batches_in_flight=1), client)
    monkeypatch.setattr(line_module, "good_until", lambda *_: 1.0)
    with pytest.raises(RetryableError, match="paused"):
        submit(shard, client, admit=line.admit)
    assert emulator.ledger(summary=True)["batches_created"] == 0
