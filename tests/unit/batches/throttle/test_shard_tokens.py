import pytest
from upath import UPath

from greennode_batch.batches.throttle.shard_tokens import prompt_tokens_of
from greennode_batch.staging.folders import ShardFolder, write_json
from greennode_batch.state.attempts import RetryPlan, RetryShard

OTHER = "zai/glm-5.2"


def test_a_shard_of_a_run_is_taken_for_what_its_plan_says(make_run):
    run, plan = make_run(("id", "text"), [(1, "x" * 400), (2, "y" * 40)], max_shard_requests=1)
    said = [prompt_tokens_of(run.shard(one.shard_id)) for one in plan.shards]
    assert said == [one.prompt_tokens for one in plan.shards]
    assert said[0] > said[1] > 0


def test_a_shard_of_no_run_is_taken_for_what_its_bytes_may_be(tmp_path):
    shard = ShardFolder(UPath(tmp_path) / "mine" / "shard")
    shard.path.mkdir(parents=True)
    shard.requests.write_bytes(b"x" * 4_000)
    assert prompt_tokens_of(shard) == 1_000


def write_retry(run, shard_id, *, model, size):
    write_json(run.retry(2), RetryPlan(2, 0.0, (RetryShard(shard_id, model, 1, size, ("s",)),)))
    shard = run.shard(shard_id, attempt=2)
    shard.path.mkdir(parents=True)
    shard.requests.write_bytes(b"x" * size)
    return shard


def test_a_shard_of_a_later_attempt_goes_by_what_the_plan_has_for_as_many_bytes_of_its_model(make_run):
    run, plan = make_run(("id", "text"), [(1, "x" * 4_000)], model=("google/gemma-4-31b-it", OTHER))
    planned = next(one for one in plan.shards if one.model == OTHER)
    shard = write_retry(run, "again", model=OTHER, size=planned.bytes // 2)
    assert prompt_tokens_of(shard) == pytest.approx(planned.prompt_tokens / 2, abs=2)


def test_a_later_attempt_at_a_model_that_the_plan_has_not_goes_by_its_bytes(make_run):
    run, _ = make_run(("id", "text"), [(1, "x")])
    assert prompt_tokens_of(write_retry(run, "again", model=OTHER, size=400)) == 100
