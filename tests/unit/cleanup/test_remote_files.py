import time

import httpx
import msgspec
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.submit import submit
from greennode_batch.batches.upload import remote_name, upload
from greennode_batch.cleanup.remote_files import RemovedFiles, remove_remote_files
from greennode_batch.collect.collect import collect_shard
from greennode_batch.errors import BusyError, SplitError
from greennode_batch.plan.build import build
from greennode_batch.retry.build_retry import build_retry
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import remove_tree, write_json
from greennode_batch.state.cleaned import Cleaned
from greennode_batch.state.joined_shard import JoinedShard
from greennode_batch.state.receipts import read_receipt, withdraw, write_receipt
from greennode_batch.state.run_report import RunReport
from greennode_batch.state.split import parts_of

COLUMNS = ("id", "text")
ROWS = [(1, "one"), (2, "two"), (3, "three"), (4, "four")]


def note_joined(shard):
    write_json(shard.joined, JoinedShard(rows=1, statuses={}, fingerprint=""))


def account(run, *, balanced=True):
    write_json(run.report, RunReport("job", "run_1", 4, 4, 1, {}, 0, 0, balanced=balanced))


@pytest.fixture
def patient(emulator):
    """A client that tries once and never sleeps."""
    with GreenNodeClient(emulator.base_url, emulator.api_key, max_tries=1) as made:
        yield made


@pytest.fixture
def over(make_run, client, ended):
    """Makes a run that is over, joined and accounted for: (run, its first shard)."""

    def make(rows=ROWS, **job):
        run, plan = make_run(COLUMNS, rows, **job)
        for planned in plan.shards:
            shard = run.shard(planned.shard_id)
            if planned.requests:
                ended(shard)
                collect_shard(shard, client, None)
            note_joined(shard)
        account(run)
        return run, run.shard(plan.shards[0].shard_id)

    return make


@pytest.fixture
def stored(client):
    """The ids of all files in the store."""
    return lambda: {file.id for file in client.list_files()}


def deletions(emulator):
    return emulator.ledger()["calls"].get("DELETE /files/{id}", 0)


def test_input_output_and_error_file_go_and_nothing_else_of_the_account(
    over, client, emulator, stored, make_shard, tmp_path
):
    emulator.faults([{"kind": "line_error", "count": 1, "batches": 1}])
    run, shard = over()
    batch = client.get_batch(read_receipt(shard).batch_id)
    mine = {batch.input_file_id, batch.output_file_id, batch.error_file_id}
    assert len(mine & stored()) == 3
    (tmp_path / "foreign.jsonl").write_text("{}\n")
    # A file of somebody else, and one of the same requests in another run.
    others = {client.upload_file(tmp_path / "foreign.jsonl").id, upload(over()[1], client, time.time).file_id}
    others |= stored() - mine
    assert remove_remote_files(run, client) == RemovedFiles(deleted=3)
    assert stored() == others
    assert emulator.ledger()["files_deleted"] == 3
    assert client.get_batch(batch.id).id == batch.id, "batches stay"


def test_the_upload_of_a_shard_that_was_split_goes_with_the_files_of_its_halves(
    make_run, client, emulator, ended, stored, clock
):
    run, plan = make_run(COLUMNS, ROWS)
    shard = run.shard(plan.shards[0].shard_id)
    emulator.faults([{"kind": "enqueued_limit", "tokens": 30, "at": "create", "named": False, "count": 2}])
    for kind in (BusyError, SplitError):
        with pytest.raises(kind):
            submit(shard, client, clock=clock)
    parts = parts_of(shard)
    for part in parts:
        ended(part)
        collect_shard(part, client, None)
    note_joined(shard)
    account(run)
    assert len(stored()) == 1 + 2 * len(parts)
    assert remove_remote_files(run, client).deleted == 1 + 2 * len(parts)
    assert stored() == set()
    assert remove_remote_files(run, client) == RemovedFiles()


def test_a_second_clean_up_makes_no_call(over, client, emulator):
    run, _ = over(max_shard_requests=1)
    remove_remote_files(run, client)
    before = emulator.ledger()["calls"]
    assert remove_remote_files(run, client) == RemovedFiles()
    assert emulator.ledger()["calls"] == before


def test_keep_deletes_nothing_at_the_server_and_calls_nothing(over, client, emulator):
    run, _ = over()
    before = emulator.ledger()["calls"]
    assert remove_remote_files(run, client, keep=True).why_kept == "keep_remote_files is set"
    assert emulator.ledger()["calls"] == before


@pytest.mark.parametrize("keep", [False, True])
def test_what_killed_workers_left_in_staging_goes(over, client, keep):
    run, shard = over()
    for folder in (run.path, shard.path):
        (folder / ".work-of-the-killed").mkdir()
    remove_remote_files(run, client, keep=keep)
    assert not (run.path / ".work-of-the-killed").exists()
    assert not (shard.path / ".work-of-the-killed").exists()


@pytest.mark.parametrize("balanced", [False, None])
def test_a_run_that_does_not_add_up_or_has_no_report_keeps_its_files(over, client, emulator, balanced):
    run, _ = over()
    if balanced is None:
        run.report.unlink()
    else:
        account(run, balanced=balanced)
    assert "no report says that all of its rows are in the target" in str(remove_remote_files(run, client))
    assert deletions(emulator) == 0


def test_a_run_that_was_never_built_has_nothing_to_delete(make_run, client, emulator):
    run, _ = make_run(COLUMNS, ROWS)
    run.plan.unlink()
    remove_remote_files(run, client)
    assert emulator.ledger()["calls"] == {}


@pytest.mark.parametrize("absent", ["joined", "results", "collected"])
def test_a_shard_whose_contents_are_not_safe_keeps_its_files_and_its_neighbour_does_not(
    over, client, emulator, stored, absent
):
    run, shard = over(rows=ROWS[:2], max_shard_requests=1)
    if absent == "collected":
        write_receipt(shard, msgspec.structs.replace(read_receipt(shard), state="created"))
    else:
        getattr(shard, absent).unlink()
    batch = client.get_batch(read_receipt(shard).batch_id)
    assert remove_remote_files(run, client) == RemovedFiles(deleted=2, shards_kept=1)
    assert stored() == {batch.input_file_id, batch.output_file_id}


def test_files_of_a_batch_that_runs_are_never_touched(make_run, client, emulator):
    emulator.faults([{"kind": "stuck", "status": "in_progress"}])
    run, plan = make_run(COLUMNS, ROWS)
    shard = run.shard(plan.shards[0].shard_id)
    write_receipt(shard, msgspec.structs.replace(submit(shard, client), state="collected"))
    shard.results.touch()
    note_joined(shard)
    account(run)
    assert remove_remote_files(run, client) == RemovedFiles(shards_kept=1)
    assert deletions(emulator) == 0


def test_files_of_a_batch_that_was_given_up_as_overdue_are_never_touched(over, client, emulator):
    run, shard = over()
    write_receipt(shard, msgspec.structs.replace(read_receipt(shard), lost="overdue"))
    client.upload_file(shard.requests, filename=remote_name(shard))
    assert remove_remote_files(run, client) == RemovedFiles(shards_kept=1)
    assert deletions(emulator) == 0


def test_of_a_batch_that_the_server_has_forgotten_the_input_goes(make_run, client, emulator, stored):
    emulator.faults([{"kind": "forgotten"}])
    run, plan = make_run(COLUMNS, ROWS)
    shard = run.shard(plan.shards[0].shard_id)
    write_receipt(shard, msgspec.structs.replace(submit(shard, client), lost="forgotten"))
    collect_shard(shard, client, None)
    note_joined(shard)
    account(run)
    file_id = read_receipt(shard).file_id
    assert file_id in stored()
    assert remove_remote_files(run, client) == RemovedFiles(deleted=1)
    assert file_id not in stored()
    assert remove_remote_files(run, client) == RemovedFiles()


def test_of_a_batch_that_is_out_of_sight_the_results_go_when_it_is_seen_again(over, client, emulator, stored):
    run, _ = over()
    emulator.faults([{"endpoint": "GET /batches/{id}", "kind": "status", "status": 404}])
    assert remove_remote_files(run, client) == RemovedFiles(deleted=1)
    assert len(stored()) == 1
    remove_remote_files(run, client)
    assert stored() == set()


def test_a_file_of_results_that_was_never_fetched_stays(over, client, stored):
    run, shard = over()
    batch = client.get_batch(read_receipt(shard).batch_id)
    shard.output.unlink()
    assert remove_remote_files(run, client) == RemovedFiles(deleted=1)
    assert stored() == {batch.output_file_id}


@pytest.mark.parametrize("status", [403, 405, 500])
def test_deletes_that_fail_are_said_and_made_up_for_by_the_next_clean_up(over, patient, emulator, stored, status):
    run, shard = over()
    emulator.faults([{"endpoint": "DELETE /files/{id}", "kind": "status", "status": status, "count": None}])
    assert remove_remote_files(run, patient) == RemovedFiles(failed=2)
    assert len(stored()) == 2
    assert not shard.cleaned.exists()
    emulator.disarm()
    assert remove_remote_files(run, patient) == RemovedFiles(deleted=2)
    assert stored() == set()


def test_a_server_that_deletes_nothing_is_not_asked_for_every_file(over, patient, emulator):
    run, _ = over(max_shard_requests=1)
    emulator.faults([{"endpoint": "DELETE /files/{id}", "kind": "status", "status": 403, "count": None}])
    assert remove_remote_files(run, patient) == RemovedFiles(failed=5)
    assert deletions(emulator) == 5


def test_batches_that_cannot_be_looked_at_keep_their_files(over, patient, emulator):
    run, _ = over(max_shard_requests=1)
    emulator.faults([{"endpoint": "GET /batches/{id}", "kind": "status", "status": 500, "count": None}])
    assert remove_remote_files(run, patient).shards_kept == 4
    assert deletions(emulator) == 0


def test_copies_of_an_upload_whose_reply_was_lost_go(over, client, emulator, stored):
    emulator.faults([{"kind": "reset_after", "endpoint": "POST /files"}])
    run, shard = over()
    assert [file.filename for file in client.list_files()].count(remote_name(shard)) == 2
    assert remove_remote_files(run, client) == RemovedFiles(deleted=3)
    assert stored() == set()


@pytest.mark.parametrize(("status", "done"), [(404, True), (405, True), (500, False)])
def test_where_files_cannot_be_listed_those_that_are_known_go(over, patient, emulator, stored, status, done):
    run, shard = over()
    emulator.faults([{"endpoint": "GET /files", "kind": "status", "status": status}])
    assert remove_remote_files(run, patient) == RemovedFiles(deleted=2)
    assert stored() == set()
    assert shard.cleaned.exists() == done, "a list that fails for now is asked for again"


@pytest.fixture
def built_anew(make_run, make_job, client, ended):
    """A run that was built of one row, then of another, `between` the two builds something was done to its shard."""

    def make(between):
        run, plan = make_run(COLUMNS, ROWS[:1])
        first = run.shard(plan.shards[0].shard_id)
        between(first)
        plan = build(
            make_job(), lambda: Rows.from_tuples(COLUMNS, iter([ROWS[1:2]])), run, run_id="run_1", profile=ApiProfile()
        )
        shard = run.shard(plan.shards[0].shard_id)
        ended(shard)
        collect_shard(shard, client, None)
        note_joined(shard)
        account(run)
        return run, first

    return make


@pytest.mark.parametrize("listed", [True, False])
def test_an_upload_of_a_shard_that_was_withdrawn_goes(built_anew, client, emulator, stored, listed):
    def upload_and_withdraw(shard):
        upload(shard, client, time.time)
        assert withdraw(shard, now=time.time(), turn=2)

    run, _ = built_anew(upload_and_withdraw)
    if not listed:
        emulator.faults([{"endpoint": "GET /files", "kind": "status", "status": 404}])
    assert remove_remote_files(run, client) == RemovedFiles(deleted=3)
    assert stored() == set()


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_upload_without_a_reply_of_a_shard_that_was_withdrawn_goes(built_anew, client, stored, forgotten):
    run, first = built_anew(lambda shard: client.upload_file(shard.requests, filename=remote_name(shard)))
    if forgotten:
        remove_tree(first.path)
    assert remove_remote_files(run, client) == RemovedFiles(deleted=3)
    assert stored() == set()


def test_a_shard_that_has_a_batch_keeps_its_files_though_no_plan_lists_it(built_anew, client, stored):
    run, first = built_anew(lambda shard: upload(shard, client, time.time))
    receipt = write_receipt(first, msgspec.structs.replace(read_receipt(first), batch_id="batch_1", state="created"))
    assert remove_remote_files(run, client) == RemovedFiles(deleted=2)
    assert stored() == {receipt.file_id}


def test_a_later_attempt_is_cleaned_once_the_rows_that_wait_for_it_are_in_the_target(
    make_run, make_job, client, emulator, ended, stored
):
    emulator.faults([{"kind": "cancelled", "fraction": 0.5}])
    run, plan = make_run(COLUMNS, ROWS)
    first = run.shard(plan.shards[0].shard_id)
    ended(first)
    collect_shard(first, client, None)
    retry = build_retry(make_job(), run, plan, attempt=2, profile=client.profile)
    again = run.shard(retry.shards[0].shard_id, attempt=2)
    ended(again)
    collect_shard(again, client, None)
    account(run)
    assert remove_remote_files(run, client) == RemovedFiles(shards_kept=2)
    note_joined(first)
    assert remove_remote_files(run, client).deleted == 4
    assert stored() == set()
    assert again.cleaned.exists()


def test_files_at_another_server_are_not_looked_for_at_this_one(over, client, emulator):
    run, shard = over()
    write_receipt(shard, msgspec.structs.replace(read_receipt(shard), server="api.example.com"))
    assert remove_remote_files(run, client) == RemovedFiles(shards_kept=1)
    assert deletions(emulator) == 0


def test_a_shard_that_was_sent_anew_is_cleaned_anew(over, client, stored):
    run, shard = over()
    write_json(shard.cleaned, Cleaned(("file-of-the-batch-before",), 0))
    assert remove_remote_files(run, client) == RemovedFiles(deleted=2)
    assert stored() == set()


def test_a_url_in_the_place_of_a_file_is_not_deleted(over):
    run, shard = over()
    deleted = []

    def answer(request):
        if request.method == "DELETE":
            deleted.append(request.url.path)
            return httpx.Response(200, json={"deleted": True})
        if request.url.path.startswith("/v1/batches/"):
            ended = {"id": "b", "status": "completed", "output_file_id": "https://store.example.com/1"}
            return httpx.Response(200, json=ended)
        return httpx.Response(200, json={"data": []})

    write_receipt(shard, msgspec.structs.replace(read_receipt(shard), server=""))
    with GreenNodeClient("https://host/v1", "key", transport=httpx.MockTransport(answer)) as client:
        assert remove_remote_files(run, client) == RemovedFiles(deleted=1)
    assert deleted == [f"/v1/files/{read_receipt(shard).file_id}"]


def test_what_was_done_reads_as_one_line():
    assert str(RemovedFiles(deleted=3)) == "Files of the run deleted at GreenNode: 3"
    assert str(RemovedFiles(1_000, 2, 1)) == (
        "Files of the run deleted at GreenNode: 1,000; calls that failed: 2; shards that keep theirs: 1"
    )
    assert str(RemovedFiles(why_kept="because")) == "The run's files stay at GreenNode: because"


def test_the_copy_that_a_gateway_made_of_the_input_file_goes_too(over, client, emulator, stored):
    emulator.faults([{"kind": "swapped_file"}])
    run, _ = over()
    assert emulator.ledger()["files_copied"] == 1
    assert remove_remote_files(run, client).deleted == 3
    assert stored() == set()


def test_the_files_of_batches_that_a_gateway_made_beside_the_shards_own_go_too(over, client, emulator, stored):
    emulator.faults([{"kind": "repeated_create"}])
    run, shard = over()
    (other,) = read_receipt(shard).repeated
    while not client.get_batch(other).status.is_terminal:
        pass
    remove_remote_files(run, client)
    assert stored() == set()
