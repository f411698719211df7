import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import run_folder, write_json
from greennode_batch.state.plan import LongestRequest, OrphanedRows, Plan, PlannedShard, read_plan, refuse_removed
from greennode_batch.state.run_identity import RemovedRun


def plan_of(*shards, models=("m", "n"), **more):
    fields = {"rows": 10, "requests": 6, "unsent": 1, "bytes": 2_500_000, **more}
    return Plan(
        job="job", run_id="run", created_at=0.0, key=("id",), models=models, longest=LongestRequest(1, "1"),
        prompt_hash="h", shards=shards, **fields,
    )  # fmt: skip


def shard(model="m", requests=3, *, tokens=10, most=100):
    return PlannedShard("s", model, requests, requests, 100, tokens, most)


def test_numbers_are_told_by_model():
    plan = plan_of(shard(tokens=1), shard(tokens=2), shard("n", 5, tokens=4))
    assert plan.prompt_tokens == {"m": 3, "n": 4}
    assert plan.requests_by_model == {"m": 6, "n": 5}


def test_one_answer_without_a_limit_leaves_its_model_without_one_and_unsent_rows_do_not():
    plan = plan_of(shard(), shard(most=None), shard("n"), shard("n", 0, most=None))
    assert plan.max_completion_tokens == {"m": None, "n": 100}


def test_a_shard_of_unsent_rows_alone_is_not_submitted():
    assert plan_of(shard(), shard(requests=0)).submitted_shards == 1


def test_it_says_what_it_asks():
    plan = plan_of(shard(), unchanged=1, orphaned=OrphanedRows(2, "a, b", removed=False))
    assert plan.repeated == 3
    assert str(plan) == (
        "10 rows: 6 requests in 1 shard (2.5 MB), 3 rows share another row's request, 1 unsent, "
        "1 row unchanged since an earlier run. 2 rows of the target are no longer in the source and stay: a, b"
    )


@given(st.sampled_from([("m",), ("m", "n")]), st.sampled_from([(), ("id", "model")]))
def test_a_plan_without_a_targets_key_has_that_of_its_rows_and_models(models, said):
    plan = plan_of(models=models, target_key=said)
    assert plan.target_key == (said or (("id",) if len(models) == 1 else ("id", "model")))
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_a_plan_is_read_as_it_was_written_and_none_is_none(tmp_path):
    run = run_folder(tmp_path / "staging", "job", "run")
    assert read_plan(run) is None
    write_json(run.plan, plan := plan_of(shard()))
    assert read_plan(run) == plan


def test_a_run_whose_staging_was_removed_is_not_paid_again_unawares(tmp_path):
    run = run_folder(tmp_path / "staging", "job", "run")
    refuse_removed(run)
    write_json(run.removed, RemovedRun(1_769_860_800.0))
    with pytest.raises(ConfigError, match=r"removed on 2026-01-31\. .* send all its rows .*delete .*removed\.json"):
        refuse_removed(run)
