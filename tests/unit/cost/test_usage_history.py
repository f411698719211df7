import pytest

from greennode_batch.cost.usage_history import note_usage, seen_usage, usage_path
from greennode_batch.staging.folders import read_json, run_folder
from greennode_batch.state.canaries import Canary, write_canaries
from greennode_batch.state.run_usage import RunUsage, UsageHistory


@pytest.fixture
def run(tmp_path):
    return run_folder(tmp_path / "staging", "job", "run")


def used(run_id="run_1", *, model="m", prompt_hash="h", is_counted=False, requests=10, prompt=100, completion=50):
    return RunUsage(run_id, model, prompt_hash, is_counted, requests, 80.0, prompt, completion)


def seen(run, models=("m",), *, run_id="now", prompt_hash="h", is_counted=False):
    return seen_usage(run, models, run_id=run_id, prompt_hash=prompt_hash, is_counted=is_counted)


def test_what_earlier_runs_have_used_is_added_up_by_model(run):
    note_usage(run, [used("run_1"), used("run_1", model="n", prompt=7)])
    note_usage(run, [used("run_2", prompt=300)])
    found = seen(run, ("m", "n", "o"))
    assert set(found) == {"m", "n"}
    assert (found["m"].requests, found["m"].prompt_tokens, found["m"].completion_tokens) == (20, 400, 100)
    assert (found["m"].basis, found["n"].basis) == ("by 2 earlier runs", "by 1 earlier run")
    assert found["n"].prompt_tokens == 7


def test_runs_of_the_same_prompt_go_before_others_and_others_are_better_than_none(run):
    note_usage(run, [used("run_1", prompt_hash="old", prompt=1)])
    assert seen(run)["m"].prompt_tokens == 1
    note_usage(run, [used("run_2", prompt=9)])
    assert seen(run)["m"].prompt_tokens == 9


def test_a_run_is_no_guide_to_itself_nor_is_one_whose_tokens_were_taken_in_another_way(run):
    note_usage(run, [used("now"), used("run_1", is_counted=True)])
    assert seen(run) == {}
    assert seen(run, is_counted=True)["m"].requests == 10


def test_a_run_that_is_noted_again_takes_its_own_place(run):
    note_usage(run, [used("run_1", prompt=1)])
    note_usage(run, [used("run_1", prompt=2)])
    assert seen(run)["m"].prompt_tokens == 2
    note_usage(run, [used("run_1", requests=0)])
    assert seen(run) == {}


def test_the_last_ten_runs_of_each_model_are_kept(run):
    note_usage(run, [used("only", model="n")])
    for number in range(25):
        note_usage(run, [used(f"run_{number}", prompt=number)])
    kept = read_json(usage_path(run), UsageHistory).runs
    assert [one.run_id for one in kept if one.model == "m"] == [f"run_{number}" for number in range(15, 25)]
    assert [one.run_id for one in kept if one.model == "n"] == ["only"]


def canary(model="m", *, prompt=12, is_counted=False):
    return Canary("id", model, "succeeded", prompt, 3, estimated_prompt_tokens=8, is_counted=is_counted)


def test_without_an_earlier_run_the_first_requests_of_this_one_tell(run):
    write_canaries(run, [canary(), canary(prompt=14), canary("n"), canary(prompt=0), canary(is_counted=True)])
    found = seen(run, ("m", "n"))
    assert (found["m"].requests, found["m"].prompt_tokens, found["m"].estimated_prompt_tokens) == (2, 26, 16)
    assert (found["m"].basis, found["n"].basis) == ("by the first 2 requests", "by the first request")
    note_usage(run, [used()])
    assert seen(run)["m"].basis == "by 1 earlier run"


@pytest.mark.parametrize("content", ["", "{", '{"runs": 5}', '{"format": 99, "runs": []}'])
def test_a_note_that_cannot_be_read_is_no_error_and_is_made_anew(run, content, caplog):
    usage_path(run).parent.mkdir(parents=True)
    usage_path(run).write_text(content)
    assert seen(run) == {}
    assert "estimates do not use what earlier runs used" in caplog.text
    note_usage(run, [used()])
    assert seen(run)["m"].requests == 10


def test_what_the_version_before_wrote_is_read(run):
    note_usage(run, [used()])
    text = usage_path(run).read_text()
    usage_path(run).write_text(text[text.index("[") : text.rindex("]") + 1])
    assert seen(run)["m"].requests == 10
