"""Polls at a shard's batch: what follows from each, with the clock in hand."""

import msgspec
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import DEADLINE_SECONDS, FORGOTTEN_SECONDS, Done, Wait
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.batches.wait import GRACE_SECONDS, SendAgain, deadline_of, poll
from greennode_batch.errors import ConfigError, RejectedError
from greennode_batch.state.receipts import latest_claim, read_receipt, write_receipt
from greennode_emulator.server import running
from greennode_emulator.settings import Settings


@pytest.fixture
def look_until(client, clock):
    """Polls at a shard until the look says something other than to wait."""

    def until(shard, *, seconds=None):
        while isinstance(step := poll(shard, client, now=clock()), Wait):
            clock.now += seconds or 0.0
        return step

    return until


def test_a_shard_that_was_not_submitted_is_named(make_shard, client, clock):
    with pytest.raises(ConfigError, match="submit it first"):
        poll(make_shard(), client, now=clock())


def test_a_batch_is_waited_for_until_it_ends(make_shard, client, look_until, clock):
    shard = make_shard()
    submit(shard, client, clock=clock)
    assert look_until(shard) == Done("ended", "COMPLETED")


@pytest.mark.parametrize("fault", ["expired", "cancelled", "failed"])
def test_any_other_end_is_an_end_too(fault, make_shard, client, emulator, look_until, clock):
    emulator.faults([{"kind": fault, "fraction": 0.5, "code": "odd"} if fault == "failed" else {"kind": fault}])
    shard = make_shard()
    submit(shard, client, clock=clock)
    assert look_until(shard) == Done("ended", fault.upper())


def test_at_its_deadline_a_batch_is_cancelled_once_and_ends(make_shard, client, emulator, clock, look_until):
    emulator.faults([{"kind": "stuck", "status": "in_progress"}])
    shard = make_shard()
    submit(shard, client, clock=clock)
    assert isinstance(poll(shard, client, now=clock()), Wait)
    assert emulator.ledger()["calls"].get("POST /batches/{id}/cancel", 0) == 0
    clock.now += DEADLINE_SECONDS
    assert look_until(shard) == Done("ended", "CANCELLED")
    assert emulator.ledger()["calls"]["POST /batches/{id}/cancel"] == 1


def test_a_batch_that_outlives_its_cancellation_is_overdue_after_the_grace_time(
    make_shard, client, emulator, clock, look_until
):
    emulator.faults(
        [
            {"kind": "stuck", "status": "in_progress"},
            {"kind": "status", "endpoint": "POST /batches/{id}/cancel", "status": 409},
        ]
    )
    shard = make_shard()
    submit(shard, client, clock=clock)
    clock.now += DEADLINE_SECONDS
    assert isinstance(poll(shard, client, now=clock()), Wait)
    clock.now += GRACE_SECONDS - 1
    assert isinstance(poll(shard, client, now=clock()), Wait)
    clock.now += 1
    assert poll(shard, client, now=clock()).reason == "overdue"
    assert read_receipt(shard).lost == "overdue"


def test_a_batch_that_is_out_of_sight_for_a_while_is_waited_for(make_shard, client, emulator, clock, look_until):
    emulator.faults([{"kind": "not_found", "looks": 3}])
    shard = make_shard()
    submit(shard, client, clock=clock)
    assert isinstance(poll(shard, client, now=clock()), Wait)
    assert read_receipt(shard).missing_since == clock()
    assert look_until(shard) == Done("ended", "COMPLETED")
    assert read_receipt(shard).missing_since is None


def test_a_batch_that_is_out_of_sight_for_long_is_forgotten(make_shard, client, emulator, clock):
    emulator.faults([{"kind": "forgotten"}])
    shard = make_shard()
    submit(shard, client, clock=clock)
    assert isinstance(poll(shard, client, now=clock()), Wait)
    clock.now += FORGOTTEN_SECONDS - 1
    assert isinstance(poll(shard, client, now=clock()), Wait)
    clock.now += 1
    assert poll(shard, client, now=clock()) == Done("forgotten")
    assert poll(shard, client, now=clock()) == Done("forgotten"), "and stays so"


def test_a_batch_that_the_list_still_has_is_not_forgotten(make_shard, client, emulator, clock):
    emulator.faults([{"kind": "not_found", "looks": 1_000}])
    shard = make_shard()
    submit(shard, client, clock=clock)
    poll(shard, client, now=clock())
    clock.now += FORGOTTEN_SECONDS * 2
    assert isinstance(poll(shard, client, now=clock()), Wait)


def test_a_batch_that_was_refused_for_want_of_room_is_sent_again_from_the_same_file(
    make_shard, client, emulator, clock, look_until
):
    words = {"code": "server_overloaded", "message": "No capacity. Please try again later."}
    emulator.faults([{"kind": "failed", "count": 2, **words}])
    shard = make_shard()
    first = submit(shard, client, clock=clock)
    assert isinstance(look_until(shard), SendAgain)
    assert latest_claim(shard).claim.released, "so that a server without a list is not asked in vain"
    assert read_receipt(shard).over_capacity == (first.batch_id,)
    second = submit(shard, client, clock=clock)
    assert isinstance(look_until(shard), SendAgain)
    assert isinstance(poll(shard, client, now=clock()), SendAgain), "also after a kill"
    third = submit(shard, client, clock=clock)
    assert look_until(shard) == Done("ended", "COMPLETED")
    assert first.file_id == second.file_id == third.file_id
    ledger = emulator.ledger()
    assert (ledger["files_uploaded"], ledger["batches_created"], ledger["requests_billed"]) == (1, 3, 2)


def test_a_batch_that_failed_for_its_file_is_not_sent_again(make_shard, client, look_until, clock):
    shard = make_shard(model="no/such-model")
    submit(shard, client, clock=clock)
    assert look_until(shard) == Done("ended", "FAILED")


def test_a_receipt_without_its_time_has_a_deadline_from_when_it_was_first_seen(make_shard, client, clock):
    shard = make_shard(*map(str, range(2_000)))
    write_receipt(shard, msgspec.structs.replace(submit(shard, client), created_at=None))
    first = clock()
    poll(shard, client, now=first)
    clock.sleep(3600)
    poll(shard, client, now=clock())
    assert read_receipt(shard).created_at == first
    assert deadline_of(read_receipt(shard), now=clock(), deadline_seconds=7200) == first + 7200


def test_a_batch_that_ends_in_a_word_of_the_servers_own_is_over_when_it_stands_still(
    make_shard, client, emulator, clock
):
    emulator.faults([{"kind": "unknown_status", "word": "PARTIAL", "during": "completed"}])
    shard = make_shard()
    submit(shard, client, clock=clock)
    while not client.get_batch(read_receipt(shard).batch_id).output_file_id:
        pass
    began, polls = clock.now, 0
    while isinstance(step := poll(shard, client, now=clock()), Wait):
        clock.now += step.seconds
        polls += 1
    assert step == Done("ended", "UNKNOWN")
    assert clock.now - began < 1_000
    assert read_receipt(shard).lost is None


def test_local_times_of_the_server_change_neither_the_polls_nor_the_deadline(make_shard, client, emulator, clock):
    emulator.faults([{"kind": "stuck", "status": "in_progress"}, {"kind": "local_times", "offset_hours": 7}])
    shard = make_shard()
    submit(shard, client, clock=clock)
    clock.now += 3_600
    assert poll(shard, client, now=clock()) == Wait(60.0)
    clock.now += DEADLINE_SECONDS - 3_601
    assert isinstance(poll(shard, client, now=clock()), Wait)
    assert read_receipt(shard).cancelled_at is None


def test_lines_that_the_server_refuses_for_their_form_stop_the_run_until_the_profile_says_otherwise(make_shard, clock):
    with running(Settings(dialect="doubleword", batch_seconds=0.01)) as emulator:
        shard = make_shard()

        def look(**profile):
            with GreenNodeClient(emulator.base_url, emulator.api_key, profile=ApiProfile(**profile)) as client:
                submit(shard, client, clock=clock)
                while isinstance(step := poll(shard, client, now=clock()), Wait):
                    pass
                return step

        with pytest.raises(
            RejectedError, match=r"'custom_id\+body'; set line_format to 'custom_id\+method\+url\+body'"
        ):
            look()
        assert look(line_format="custom_id+method+url+body") == Done("ended", "FAILED")
        assert emulator.ledger()["requests_billed"] == 0
