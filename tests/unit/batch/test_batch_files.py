import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from greennode_batch.collect.answers import AnswerReader
from greennode_batch.collect.batch_files import collect_shard, look_at, requested_ids
from greennode_batch.errors import ConfigError, NotFoundError, RetryableError
from greennode_batch.join.join import join_shard
from greennode_batch.receipts import read_receipt
from greennode_batch.submit import submit


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
    (shard.path / ".work-of-the-killed").mkdir()
    assert collect_shard(shard, client, None) == {"succeeded": 2}
    assert calls(emulator, "GET /files/{id}/content") == 1
    assert not [path for path in shard.path.iterdir() if path.name.startswith(".")]


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
    with pytest.raises(ConfigError, match="another answer model; run collect_results"):
        join_shard(shard, run_id="r", answer_fields=AnswerReader(Rating).fields)


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
        NotFoundError, match=r"may have been billed.*base URL or the key changed.*remove .*receipt\.json"
    ):
        look_at(shard, client, receipt)
    shard.receipt.unlink()
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
    asked = set(requested_ids(shard))
    shard.source.unlink()
    assert set(requested_ids(shard)) == asked
    ended(shard)
    assert collect_shard(shard, client, None) == {"succeeded": 2}


@pytest.mark.parametrize("length", ["lying", "right", "none"])
def test_a_download_that_is_cut_off_in_mid_line_is_fetched_again(length, make_shard, client, emulator, ended):
    shard = make_shard(*(f"text {n}" for n in range(20)))
    ended(shard)
    cut = {"kind": "truncated", "endpoint": "GET /files/{id}/content", "fraction": 0.5, "length": length, "count": 1}
    emulator.faults([cut])
    assert collect_shard(shard, client, None) == {"succeeded": 20}
    assert emulator.armed() == []


def test_a_file_that_the_server_itself_has_cut_off_is_read_as_far_as_it_goes(make_shard, client, emulator, ended):
    shard = make_shard(*(f"text {n}" for n in range(20)))
    ended(shard)
    emulator.faults([{"kind": "truncated", "endpoint": "GET /files/{id}/content", "length": "none", "count": None}])
    counts = collect_shard(shard, client, None)
    assert counts.total() == 20
    assert counts["missing"] > 0
    assert counts["succeeded"] > 0
