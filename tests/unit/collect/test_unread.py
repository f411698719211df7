import json

import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.batches.submit import submit
from greennode_batch.cleanup.retention import old_runs
from greennode_batch.collect.collect import collect_shard
from greennode_batch.collect.results import LinesRead
from greennode_batch.collect.unread import unread_results
from greennode_batch.errors import UnreadResultsError
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.state.confirmed_profile import is_confirmed
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.run_identity import note_run
from greennode_batch.state.stops import stops_of, unread_path

TEXTS = [f"text {n}" for n in range(4)]
# Where this server has a file's metadata: JSON that comes with a 200, and no line of results.
WRONG = ApiProfile(content_path="/files/{file_id}")


@pytest.fixture
def misled(emulator):
    """A client whose profile fetches something else than the results."""
    with GreenNodeClient(emulator.base_url, emulator.api_key, profile=WRONG, sleep=lambda _: None) as made:
        yield made


@pytest.fixture
def unread(make_run, misled, ended, clock):
    """The run of a shard whose batch has ended, and whose results were not read; its plan and shard."""
    run, plan = make_run(("id", "text"), list(enumerate(TEXTS)), profile=WRONG)
    shard = run.shard(plan.shards[0].shard_id)
    ended(shard)
    with pytest.raises(UnreadResultsError, match=r"settle 0 of its 4 requests.*content_path"):
        collect_shard(shard, misled, None, sleep=clock.sleep)
    assert clock.slept == []
    return run, plan, shard


def made_of(emulator):
    ledger = emulator.ledger()
    return ledger["batches_created"], ledger["requests_billed"], ledger["calls"].get("DELETE /files/{id}", 0)


def test_the_first_lines_are_kept_and_the_shard_is_not_collected(unread, client):
    run, _, shard = unread
    (stop,) = stops_of(run)
    assert unread_path(shard).exists()
    assert str(unread_path(shard)) in stop.words
    (line,) = stop.samples
    assert json.loads(line.removeprefix("output.jsonl: "))["purpose"] == "batch_output"
    assert read_receipt(shard).state == "created"
    assert not shard.results.exists()
    assert not is_confirmed(run.path.parent.parent, client.host, WRONG)


def test_no_attempt_is_built_and_no_other_shard_of_the_run_is_sent(unread, make_job, misled, emulator):
    run, plan, shard = unread
    with pytest.raises(UnreadResultsError, match="attempt 2 is not built"):
        build_retry(make_job(), run, plan, attempt=2, profile=WRONG)
    other = run.shard("other")
    other.path.mkdir()
    other.requests.write_bytes(shard.requests.read_bytes())
    with pytest.raises(UnreadResultsError, match="shard other is not sent"):
        submit(other, misled)
    assert made_of(emulator) == (1, 4, 0)


def test_a_corrected_profile_reads_the_same_batch_at_no_cost(unread, client, make_job, emulator):
    run, plan, shard = unread
    assert collect_shard(shard, client, None) == {"succeeded": 4}
    assert stops_of(run) == []
    assert build_retry(make_job(), run, plan, attempt=2, profile=client.profile).requests == 0
    assert made_of(emulator) == (1, 4, 0)
    assert is_confirmed(run.path.parent.parent, client.host, client.profile)


def test_what_could_not_be_read_is_never_replaced_by_what_comes_later(unread, misled):
    _, _, shard = unread
    shard.output.write_bytes(b"paid answers in a shape that is not known yet, longer than what comes now" * 20)
    with pytest.raises(UnreadResultsError):
        collect_shard(shard, misled, None)
    assert (shard.path / "output.jsonl.before").read_bytes().startswith(b"paid answers")


def test_staging_of_a_run_whose_results_were_not_read_is_never_old(unread, client):
    run, _, shard = unread
    note_run(run, dag_id=run.path.parent.name, run_id="run 0")
    assert list(old_runs(run.path.parent.parent, before=1e12)) == []
    collect_shard(shard, client, None)
    assert [one.folder.path for one in old_runs(run.path.parent.parent, before=1e12)] == [run.path]


@pytest.mark.parametrize("ratio", [0, 0.0])
def test_a_job_may_take_any_results_as_they_are(ratio, make_shard, misled, ended, clock):
    shard = make_shard(*TEXTS)
    ended(shard)
    assert collect_shard(shard, misled, None, min_read_ratio=ratio, sleep=clock.sleep) == {"missing": 4}


def verdict(
    status=BatchStatus.COMPLETED, *, requests=300, lines=300, confirmed=False, files=True, lacks_file=False, **read
):
    told = {"settled": 0, "errors": 0, "wordless": 0} | read
    return unread_results(
        Batch(id="b", status=status),
        LinesRead(lines, **told),
        {},
        requests=requests,
        has_files=files,
        is_confirmed=confirmed,
        lacks_file=lacks_file,
    )


@pytest.mark.parametrize("confirmed", [True, False])
@pytest.mark.parametrize(
    ("is_unread", "told"),
    [
        (True, {"settled": 0}),
        (True, {"settled": 14}),
        (False, {"settled": 150, "lines": 150}),
        (True, {"lines": 0, "files": False}),
        # A file of errors in a shape of its own, beside answers that can be read; and single such lines.
        (True, {"settled": 150, "errors": 150, "wordless": 150}),
        (False, {"settled": 298, "errors": 2, "wordless": 2}),
        (False, {"settled": 150, "errors": 200, "wordless": 150}),
        # What a batch did not get to is in no line, and that is no fault of the reader.
        (False, {"status": BatchStatus.EXPIRED, "lines": 10, "settled": 10}),
        (False, {"status": BatchStatus.CANCELLED, "lines": 0, "files": False}),
        (True, {"status": BatchStatus.EXPIRED, "lines": 10}),
        (True, {"status": BatchStatus.FAILED, "lines": 300}),
    ],
)
def test_results_count_as_unread_where_their_lines_settle_next_to_nothing(is_unread, told, confirmed):
    assert (verdict(confirmed=confirmed, **told) is not None) == is_unread


def test_a_profile_that_has_never_read_results_has_to_settle_half_of_its_first_batch():
    """One page of the results must not count as all that there is."""
    assert verdict(settled=15, lines=15, confirmed=True) is None
    assert verdict(settled=149, lines=149).what == "the files have too few lines"
    assert verdict(requests=49, settled=9, lines=9) is None


def test_a_single_line_that_is_missing_is_bad_luck_where_results_were_read_before():
    assert verdict(requests=1, lines=1, confirmed=True) is None
    assert verdict(requests=1, lines=1) is not None
    assert verdict(requests=1, lines=0, files=False) is None
    assert verdict(requests=1, lines=0, files=False, lacks_file=True) is not None


@pytest.mark.parametrize(
    ("kinds", "wordless", "field"),
    [
        ({"no_custom_id": 300}, 0, "result_fields"),
        ({"unknown custom_id": 300}, 0, "result_fields"),
        ({"not_json": 300}, 0, "content_path or result_style"),
        ({"file_error": 1}, 0, "content_path or result_style"),
        ({"no_custom_id": 1}, 299, "result_fields"),
        ({"no_custom_id": 1}, 0, "content_path or result_style"),
    ],
)
def test_the_fields_of_the_profile_that_decide_are_named(kinds, wordless, field):
    read = LinesRead(max(2, sum(kinds.values())) if not wordless else 300, 0, wordless, wordless)
    found = unread_results(
        Batch(id="b", status=BatchStatus.COMPLETED), read, kinds, requests=300, has_files=True, is_confirmed=False
    )
    assert found is not None
    assert found.fields.startswith(field)
