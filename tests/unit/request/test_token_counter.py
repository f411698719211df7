from __future__ import annotations

import sys

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from greennode_batch.api.profile import ApiProfile
from greennode_batch.cost.usage_history import usage_path
from greennode_batch.errors import ConfigError
from greennode_batch.plan.build import build
from greennode_batch.plan.partition_files import read_parts, write_part
from greennode_batch.run import run_to_file
from greennode_batch.source.partition import Part
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import read_json, run_folder
from greennode_batch.state.canaries import read_canaries
from greennode_batch.state.run_usage import UsageHistory

MODEL = "google/gemma-4-31b-it"
ROWS = [(1, "one two three"), (2, "one"), (3, "one two three"), (4, ""), (5, "four five")]
JOB = {"system": "Be brief, please.", "max_shard_requests": 2}
# The system message has five words, as punctuation is one.
COUNTED = (5 + 3) + (5 + 1) + (5 + 2)


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer whose tokens are words; as many files do, it says to cut, to fill up and to put marks around."""
    words = Tokenizer(WordLevel({"?": 0, "<s>": 1}, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    words.enable_truncation(2)
    words.enable_padding(length=50)
    path = tmp_path / "tokenizer.json"
    words.save(str(path))
    return str(path)


def test_prompts_are_counted_by_the_jobs_tokenizer(make_run, tokenizer):
    _, plan = make_run(("id", "text"), ROWS, tokenizer=tokenizer, **JOB)
    assert (plan.is_counted, plan.requests, plan.unsent) == (True, 3, 1)
    assert plan.prompt_tokens == {MODEL: COUNTED}
    assert [shard.prompt_tokens for shard in plan.shards] == [14, 7]
    assert plan.estimate.prompt_tokens == COUNTED
    assert "(by the job's tokenizer)" in str(plan.estimate)


@pytest.mark.parametrize("together", [1, 7, 1 << 18])
def test_how_many_texts_are_cut_together_makes_no_difference(make_run, tokenizer, together, monkeypatch):
    monkeypatch.setattr("greennode_batch.request.token_counter._TOGETHER_CHARACTERS", together)
    messages = [{"role": "user", "content": [
        {"type": "text", "text": "{{ text }}"}, {"type": "text", "text": "and more"},
        {"type": "image_url", "image_url": {"url": "https://x/one two.png"}},
    ]}]  # fmt: skip
    _, plan = make_run(("id", "text"), ROWS, prompt=None, messages=messages, samples=2, tokenizer=tokenizer)
    # The row without a text is asked too, for there is more than that.
    assert plan.prompt_tokens == {MODEL: 2 * (5 + 3 + 2 + 4)}


def test_without_a_tokenizer_nothing_is_counted(make_run):
    _, plan = make_run(("id", "text"), ROWS, **JOB)
    assert not plan.is_counted
    assert "(by the length of the texts)" in str(plan.estimate)


def test_parts_carry_the_counts(make_job, tmp_path, tokenizer):
    job = make_job(partitions=2, tokenizer=tokenizer, **JOB)
    run = run_folder(tmp_path / "staging", "job", "run")
    for number, rows in enumerate((ROWS[:2], ROWS[2:])):
        write_part(job, Rows.from_tuples(("id", "text"), iter([rows])), run, Part(number, 2), profile=ApiProfile())
    plan = build(job, lambda: read_parts(job, run, profile=ApiProfile()), run, run_id="run", profile=ApiProfile())
    assert (plan.is_counted, plan.prompt_tokens) == (True, {MODEL: COUNTED})
    other = make_job(partitions=2, **JOB)
    with pytest.raises(ConfigError, match="another version of the job"):
        read_parts(other, run, profile=ApiProfile())


def test_what_was_counted_is_corrected_by_earlier_counted_runs_alone(make_job, client, tmp_path, clock, tokenizer):
    def start(name, **job):
        run = run_folder(tmp_path / "staging", "job", name)
        rows = [(number, f"{name} {text}") for number, text in ROWS]
        made = run_to_file(
            make_job(params={"max_tokens": 50}, max_failed_ratio=1, **JOB, **job),
            lambda: Rows.from_tuples(("id", "text"), iter([rows])),
            client, run, tmp_path / f"{name}.parquet", run_id=name, clock=clock, sleep=clock.sleep,
        )  # fmt: skip
        return run, made

    run, first = start("first", tokenizer=tokenizer, canary=1)
    assert [(one.is_counted, one.estimated_prompt_tokens) for one in read_canaries(run)] == [(True, 9)]
    assert first.estimate.basis == "by the first request"
    (used,) = read_json(usage_path(run), UsageHistory).runs
    assert (used.is_counted, used.estimated_prompt_tokens) == (True, COUNTED + 3 + 5 + 1)
    _, second = start("second", canary=0)
    _, third = start("third", tokenizer=tokenizer, canary=0)
    assert [made.estimate.basis for made in (second, third)] == ["by the length of the texts", "by 1 earlier run"]


def test_without_the_library_it_is_said_how_to_get_it(make_run, tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"pip install 'greennode-airflow\[tokenizer\]'"):
        make_run(("id", "text"), ROWS, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.json", None, "cannot be read"),
        ("broken.json", "{}", "is not a Hugging Face tokenizer.json"),
        ("binary.json", b"\xff\xfe", "cannot be read as UTF-8"),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_named(make_run, tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=f"{name}.* {words}|{name}: {words}"):
        make_run(("id", "text"), ROWS, tokenizer=str(tmp_path / name))


def test_a_relative_one_lies_below_the_jobs_folder(make_run):
    with pytest.raises(ConfigError, match=r"model/tokenizer\.json: no such file below the jobs folder"):
        make_run(("id", "text"), ROWS, tokenizer="model/tokenizer.json")


@pytest.mark.parametrize("said", ["", 5])
def test_what_is_no_path_is_refused(make_job, said):
    with pytest.raises(ConfigError, match=r"path of a tokenizer\.json"):
        make_job(tokenizer=said)
