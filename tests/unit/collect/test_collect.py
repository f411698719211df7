import json

import httpx
import msgspec
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.polling.polling import Done
from greennode_batch.batches.submit import submit
from greennode_batch.batches.wait import poll
from greennode_batch.collect.anomalies import count_anomalies
from greennode_batch.collect.collect import collect_shard, poll_batch, requested_ids
from greennode_batch.errors import ConfigError, NotFoundError, RetryableError, UnreadResultsError
from greennode_batch.state.receipts import read_receipt, write_receipt
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.write.join import join_shard


class Label(BaseModel):
    label: str


class Rating(BaseModel):
    rating: int


def calls(emulator, name):
    return emulator.ledger()["calls"].get(name, 0)


def test_a_finished_batch_is_collected_once(make_shard, client, emulator, ended):
    shard = make_shard("a", "b", "a")
    ended(shard)
    assert collect_shard(shard, client, None) == {"succeeded": 2}
    assert read_receipt(shard).state == "collected"
    assert collect_shard(shard, client, None) == {"succeeded": 2}
    assert calls(emulator, "GET /files/{id}/content") == 1


def test_files_that_are_whole_are_not_fetched_again_after_a_kill(make_shard, client, emulator, ended):
    shard = make_shard()
    ended(shard)
    collect_shard(shard, client, None)
    shard.results.unlink()
    assert collect_shard(shard, client, None) == {"succeeded": 2}
    assert calls(emulator, "GET /files/{id}/content") == 1


def test_another_answer_model_reads_the_same_files_again(make_shard, client, emulator, ended):
    shard = make_shard(answer=Label)
    ended(shard)
    assert collect_shard(shard, client, Label) == {"succeeded": 2}
    assert collect_shard(shard, client, Rating) == {"invalid_output": 2}
    assert "rating" in pq.read_schema(str(shard.results)).names
    assert (calls(emulator, "GET /files/{id}/content"), emulator.ledger()["batches_created"]) == (1, 1)


def test_results_of_another_answer_model_are_not_joined(make_shard, client, ended):
    shard = make_shard()
    ended(shard)
    collect_shard(shard, client, None)
    fields = AnswerReader(Rating).fields
    with (
        pytest.raises(ConfigError, match="another answer model; run collect_results"),
        join_shard(shard, owner=RowOwner("r"), answer_fields=fields),
    ):
        pass


def test_a_shard_that_was_not_submitted_is_named(make_shard, client):
    shard = make_shard()
    with pytest.raises(ConfigError, match=f"{shard.shard_id}: no batch was created for this shard; submit it first"):
        collect_shard(shard, client, None)


def test_a_batch_that_still_runs_is_not_collected(make_shard, client):
    shard = make_shard(*map(str, range(2_000)))
    submit(shard, client)
    with pytest.raises(RetryableError, match="not finished yet; nothing is lost"):
        collect_shard(shard, client, None)


def test_a_batch_that_the_server_has_forgotten_says_what_may_be_paid_and_the_way_out(make_shard, client, emulator):
    shard = make_shard()
    receipt = submit(shard, client)
    emulator.reset()
    with pytest.raises(
        NotFoundError, match=r"may have been billed.*base URL or the key changed.*remove every receipt\*\.json in .*"
    ):
        poll_batch(shard, client, receipt)
    for path in shard.path.glob("receipt*.json"):
        path.unlink()
    assert submit(shard, client, settle_seconds=0).batch_id != receipt.batch_id


def test_a_batch_of_an_unknown_model_fails_row_by_row_with_the_servers_reason(make_shard, client, emulator, ended):
    shard = make_shard(model="no/such-model")
    ended(shard)
    assert collect_shard(shard, client, None) == {"failed": 2}
    errors = set(pq.read_table(str(shard.results))["error"].to_pylist())
    assert errors == {"the batch failed: line 1: The model 'no/such-model' does not exist"}
    assert emulator.ledger()["requests_billed"] == 0


def test_a_folder_with_requests_alone_is_collected_by_its_lines(make_shard, client, ended):
    shard = make_shard("a", "b")
    requested = set(requested_ids(shard))
    shard.source.unlink()
    assert set(requested_ids(shard)) == requested
    ended(shard)
    assert collect_shard(shard, client, None) == {"succeeded": 2}


def test_a_file_that_the_server_itself_has_cut_off_is_read_as_far_as_it_goes(
    make_shard, client, emulator, ended, clock
):
    shard = make_shard(*(f"text {n}" for n in range(20)))
    ended(shard)
    emulator.faults([{"kind": "truncated", "endpoint": "GET /files/{id}/content", "length": "none", "count": None}])
    counts = collect_shard(shard, client, None, sleep=clock.sleep)
    assert counts.total() == 20
    assert counts["missing"] > 0
    assert counts["succeeded"] > 0


def test_a_download_that_ends_at_a_line_and_half_way_is_found_out_before_rows_are_called_missing(
    make_shard, client, emulator, ended
):
    shard = make_shard(*(f"text {n}" for n in range(40)))
    ended(shard)
    collect_shard(shard, client, None)
    whole = shard.output.read_bytes()
    # What a proxy may have left of it on the first try: nothing shows that it is not all.
    shard.output.write_bytes(b"".join(whole.splitlines(keepends=True)[:11]))
    shard.results.unlink()
    assert collect_shard(shard, client, None) == {"succeeded": 40}
    assert shard.output.read_bytes() == whole


def test_files_that_stay_out_of_reach_are_left_for_later_and_stop_the_run_after_half_an_hour(
    make_shard, client, emulator, ended, clock
):
    emulator.faults([{"kind": "status", "endpoint": "GET /files/{id}/content", "status": 404, "count": None}])
    emulator.faults([{"kind": "status", "endpoint": "GET /files/{id}", "status": 404, "count": None}])
    shard = make_shard()
    ended(shard)
    with pytest.raises(RetryableError, match="cannot be read yet; nothing is lost"):
        collect_shard(shard, client, None, clock=clock, sleep=clock.sleep)
    clock.now += 1800
    with pytest.raises(UnreadResultsError, match=r"names none that could be downloaded.*content_path"):
        collect_shard(shard, client, None, clock=clock, sleep=clock.sleep)
    # By the way out that the error names, they are asked again.
    write_receipt(shard, msgspec.structs.replace(read_receipt(shard), lost="forgotten"))
    assert collect_shard(shard, client, None, clock=clock, sleep=clock.sleep) == {"missing": 2}
    assert pq.read_table(str(shard.results))["ask_again"].to_pylist() == [True, True]


def test_a_batch_that_is_being_cancelled_is_waited_for(make_shard, client, emulator, clock):
    emulator.faults([{"kind": "stuck", "status": "in_progress", "fraction": 0.5}])
    shard = make_shard(*(f"text {n}" for n in range(40)))
    client.cancel_batch(submit(shard, client).batch_id)
    counts = collect_shard(shard, client, None, clock=clock, sleep=lambda _: None)
    assert set(counts) <= {"succeeded", "cancelled"}
    assert counts.total() == 40


@pytest.mark.parametrize(("lost", "status", "again"), [("forgotten", "missing", True), ("overdue", "expired", False)])
def test_of_a_batch_that_tells_nothing_any_more_each_row_says_so(lost, status, again, make_shard, client, emulator):
    emulator.faults([{"kind": "stuck", "status": "in_progress"}])
    shard = make_shard()
    write_receipt(shard, msgspec.structs.replace(submit(shard, client), lost=lost))
    assert collect_shard(shard, client, None) == {status: 2}
    assert pq.read_table(str(shard.results))["ask_again"].to_pylist() == [again, again]


class OddWord(httpx.HTTPTransport):
    """Calls the end of a batch by a word that nobody knows."""

    def handle_request(self, request):
        reply = super().handle_request(request)
        content = reply.read().replace(b'"completed"', b'"PARTIAL"')
        return httpx.Response(reply.status_code, content=content, headers={"content-type": "application/json"})


def test_results_are_read_whatever_the_word_for_the_end_once_nothing_changes(make_shard, ended, emulator, clock):
    shard = make_shard("a", "b")
    ended(shard)
    with GreenNodeClient(emulator.base_url, emulator.api_key, transport=OddWord()) as odd:
        assert collect_shard(shard, odd, None, clock=clock, sleep=clock.sleep) == {"succeeded": 2}
    assert 60 <= sum(clock.slept) < 70
    assert read_receipt(shard).ended.raw_status == "PARTIAL"


def test_of_a_batch_that_was_given_up_the_files_that_it_names_are_read(make_shard, ended, emulator, client):
    shard = make_shard("a", "b")
    ended(shard)
    write_receipt(shard, msgspec.structs.replace(read_receipt(shard), lost="overdue"))
    assert collect_shard(shard, client, None) == {"succeeded": 2}


def test_lines_that_settle_nothing_are_kept_whole_for_a_person_to_look_at(make_shard, client, emulator, ended):
    emulator.faults([{"kind": "unknown_id", "count": 2}, {"kind": "not_json", "count": 1}])
    shard = make_shard(*(f"text {n}" for n in range(20)))
    ended(shard)
    collect_shard(shard, client, None)
    assert count_anomalies(shard) == {"unknown custom_id": 2, "not_json": 1}
    kept = [json.loads(line) for line in shard.anomalies.read_text().splitlines()]
    stranger = next(one for one in kept if one["kind"] == "unknown custom_id")
    assert stranger["custom_id"].startswith("unknown-")
    assert stranger["custom_id"] in stranger["line"]
    assert stranger["file"] == "output.jsonl"


def test_a_file_in_utf_16_is_whole_and_fetched_once(make_shard, client, emulator, ended, clock):
    emulator.faults([{"kind": "utf16"}])
    shard = make_shard()
    ended(shard)
    assert collect_shard(shard, client, None, sleep=clock.sleep) == {"succeeded": 2}
    assert clock.slept == []


@pytest.mark.parametrize("is_lost", ["results", "nothing"])
def test_what_is_whole_in_staging_is_read_again_without_the_server(is_lost, make_shard, client, emulator, ended):
    shard = make_shard("a", "b", answer=Label)
    ended(shard)
    collect_shard(shard, client, Label)
    before = read_receipt(shard)
    emulator.reset()
    if is_lost == "results":
        shard.results.unlink()
    assert collect_shard(shard, client, Rating) == {"invalid_output": 2}
    assert collect_shard(shard, client, Label) == {"succeeded": 2}
    assert emulator.ledger()["calls"] == {}
    assert msgspec.structs.replace(read_receipt(shard), number=before.number) == before


def test_rows_without_a_line_are_told_the_same_when_they_are_read_again(make_shard, client, emulator, ended):
    shard = make_shard("a", "b")
    ended(shard)
    collect_shard(shard, client, None)
    output = shard.output.read_bytes().splitlines(keepends=True)
    shard.output.write_bytes(output[0])
    ended_as = msgspec.structs.replace(read_receipt(shard).ended, status="EXPIRED", raw_status="expired")
    write_receipt(shard, msgspec.structs.replace(read_receipt(shard), ended=ended_as))
    shard.results.unlink()
    emulator.reset()
    assert collect_shard(shard, client, None) == {"succeeded": 1, "expired": 1}
    assert emulator.ledger()["calls"] == {}


@pytest.mark.parametrize("state", ["created", "collected"])
@pytest.mark.parametrize("files", ["output", "both"])
def test_a_receipt_of_an_earlier_version_is_enough_where_the_files_have_every_request(
    state, files, make_shard, client, emulator, ended, clock
):
    shard = make_shard("a", "b")
    ended(shard)
    collect_shard(shard, client, None)
    write_receipt(shard, msgspec.structs.replace(read_receipt(shard), state=state, ended=None, statuses={}))
    shard.results.unlink()
    if files == "both":
        shard.errors.write_bytes(b"")
    emulator.reset()
    assert collect_shard(shard, client, None, clock=clock, sleep=clock.sleep) == {"succeeded": 2}
    assert read_receipt(shard).state == "collected"


def test_half_of_the_answers_in_staging_are_kept_by_the_way_out(make_shard, client, emulator, ended, clock):
    shard = make_shard("a", "b")
    ended(shard)
    collect_shard(shard, client, None)
    write_receipt(shard, msgspec.structs.replace(read_receipt(shard), state="created", ended=None))
    shard.output.write_bytes(shard.output.read_bytes().splitlines(keepends=True)[0])
    shard.results.unlink()
    emulator.reset()
    with pytest.raises(NotFoundError, match=r'write "lost": "forgotten" into .*receipt\.5\.json.*in staging are kept'):
        collect_shard(shard, client, None, clock=clock, sleep=clock.sleep)
    write_receipt(shard, msgspec.structs.replace(read_receipt(shard), lost="forgotten"))
    assert collect_shard(shard, client, None) == {"succeeded": 1, "missing": 1}


def test_a_shard_that_is_collected_is_not_waited_for_again(make_shard, client, emulator, ended):
    shard = make_shard()
    ended(shard)
    collect_shard(shard, client, None)
    emulator.reset()
    assert poll(shard, client, now=0.0) == Done("ended", "COMPLETED")
    assert emulator.ledger()["calls"] == {}
