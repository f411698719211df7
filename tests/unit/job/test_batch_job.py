import copy
import dataclasses
import pickle

import pytest
from pydantic import BaseModel

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.budget import Budget
from greennode_batch.job.sources import FileSource, SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget

TABLE = SqlTarget(conn_id="warehouse", table="answers")


class Sampled(BaseModel):
    sample: str


class Empty(BaseModel):
    pass


class Clashing(BaseModel):
    status: str


class Raw(BaseModel):
    raw_answer: str


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, "job name 'a b': use letters"),
        ({"key": ()}, "key is empty; name the column"),
        ({"key": ("id", "")}, r"key is \('id', ''\); it is the name of the column that identifies a row, or a tuple"),
        ({"key": ("id", "id")}, "the column 'id' twice"),
        ({"explain_errors": True}, "explain_errors says what is wrong with answers that do not fit the answer model"),
        ({"answer": Raw}, "the name 'raw_answer' is taken"),
        ({"model": []}, "model is empty; take an id from the server's model list"),
        ({"model": ["m", "m"]}, "model lists an id twice"),
        ({"prompt": None}, "give either prompt= or messages="),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"messages": [{"role": "user", "content": "x"}]}, "give either prompt= or messages="),
        ({"prompt": None, "messages": []}, "messages is empty"),
        (
            {"prompt": None, "messages": ["hello"]},
            r"messages is \['hello'\]; it is a list of objects, each with",
        ),
        ({"prompt": None, "messages": [{"role": "user", "content": "x"}], "system": "y"}, "put it into the list"),
        ({"params": {"model": "x", "n": 2}}, "params may not hold model, n: .* give samples="),
        ({"row_params": {"model": "m", "n": "n"}}, "row_params may not hold model, n"),
        (
            {"row_params": {"max_tokens": 5}},
            r"row_params is {'max_tokens': 5}; it is an object of fields of a request",
        ),
        ({"row_params": ["max_tokens"]}, r"row_params is \['max_tokens'\]; it is an object of fields of a request"),
        ({"row_params": {"max_tokens": "a", "max_completion_tokens": "b"}}, "the limit of tokens twice"),
        ({"max_failed_ratio": 5}, "max_failed_ratio is 5; it is a share, from 0 to 1"),
        ({"carry": "title"}, r"""carry is 'title'; it is a tuple of column names, such as \("title",\)"""),
        ({"carry": ("status",)}, r"the column 'status' twice; rename it.*\(taken: status, error"),
        ({"carry": ("unsent",)}, "the name 'unsent' is taken"),
        ({"answer": Clashing}, "the column 'status' twice"),
        ({"answer": Empty}, "the answer model Empty has no fields"),
        ({"answer": dict}, r"answer is <class 'dict'>; it is a Pydantic model \(a class\), or left out"),
        ({"on_ambiguous": "retry"}, "on_ambiguous is 'retry'; it is fail or resubmit"),
        ({"on_kill": "stop"}, "on_kill is 'stop'; it is cancel or leave"),
        ({"keep_remote_files": "false"}, "keep_remote_files is 'false'; it is True, False or left out"),
        ({"target": ()}, "target is empty; give a SqlTarget, a FileTarget or a tuple of them"),
        ({"target": "answers"}, "target is 'answers'; it is a SqlTarget, a FileTarget or a tuple of them"),
        ({"target": [TABLE, TABLE]}, "a target is named twice"),
        ({"target": FileTarget(path="a", partition_by=("day",))}, "partition_by of a: the target has no column 'day'"),
        ({"target": FileTarget(path="a", partition_by=("id", "id"))}, "partition_by of a names 'id' twice"),
        ({"target": FileTarget(path="a", partition_by=("_d",)), "carry": ("_d",)}, "take the folder _d=… for hidden"),
        ({"partitions": 0}, "partitions is 0; it is 1"),
        ({"partitions": 2.0}, "partitions is 2.0; it is 1"),
        ({"partitions": True}, "partitions is True; it is 1"),
        ({"samples": 0}, r"samples is 0; it is 1 \(one answer to each request\) or more"),
        ({"samples": "2"}, "samples is '2'; it is 1"),
        ({"samples": 2, "carry": ("sample",)}, r"the column 'sample' twice; rename it.*\(taken: sample, status, error"),
        ({"samples": 2, "key": "sample"}, "the column 'sample' twice"),
        ({"samples": 2, "answer": Sampled}, "the column 'sample' twice"),
        ({"max_shard_requests": 0}, "max_shard_requests is 0; it is at least 1"),
        ({"max_shard_bytes": -1}, "max_shard_bytes is -1; it is at least 1"),
        ({"name": 5}, "job 5: name is 5; it is a text of letters"),
        ({"source": "SELECT 1"}, "source is 'SELECT 1'; it is a SqlSource or a FileSource"),
        ({"model": ["m", 5]}, r"model is \['m', 5\]; it is an id from the server's model list, or a list of several"),
        ({"prompt": b"x"}, "prompt is b'x'; it is a text"),
        ({"params": "max_tokens=5"}, "params is 'max_tokens=5'; it is an object of fields of a request"),
        ({"canary": True}, r"canary is True; it is 0 \(none\) or more"),
        ({"attempts": "2"}, r"attempts is '2'; it is 1 \(ask once\) or more"),
        ({"deadline_hours": "26"}, "deadline_hours is '26'; it is a number of hours"),
        ({"keep_reasoning": "yes"}, "keep_reasoning is 'yes'; it is True or False"),
        ({"pool": " "}, "pool is ' '; it is the name of a pool of Airflow, or left out"),
        ({"promt": "x"}, "job job: there is no field 'promt'; did you mean 'prompt'?"),
        ({"colour": "x"}, "job job: there is no field 'colour'; it has name, source, key"),
    ],
)
def test_what_cannot_work_is_refused_by_name(make_job, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_job(**changes)


def test_a_field_that_is_missing_or_has_no_name_is_a_config_error():
    with pytest.raises(ConfigError, match=r"^job tickets: source is missing; it is a SqlSource or a FileSource$"):
        BatchJob(name="tickets", key="id", model="m", target=TABLE, prompt="x")
    with pytest.raises(ConfigError, match=r"^job tickets: there is no field 'modle'; did you mean 'model'\?$"):
        BatchJob(name="tickets", key="id", modle="m", target=TABLE, prompt="x")
    with pytest.raises(ConfigError, match=r"^job: give each argument by its name: name=…$"):
        BatchJob("tickets")
    with pytest.raises(ConfigError, match=r"^budget: there is no field 'max_costs'; did you mean 'max_cost'\?$"):
        Budget(max_costs=5)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: FileSource(path="a", delimiter="||"), r"delimiter is '\|\|'; it is one ASCII character"),
        (lambda: FileSource(path="a", quote="»"), "quote is '»'; it is one ASCII .* no value is in quotes"),
        (lambda: FileSource(path="a", quote=";", delimiter=";"), "three different characters"),
        (lambda: FileSource(path="a", escape='"', quote='"'), "three different characters"),
        (lambda: FileSource(path="a", encoding="base64"), "encoding: 'base64' is no encoding of text"),
        (lambda: FileSource(path="a", encoding="utf8x"), "encoding: 'utf8x' is no encoding of text"),
        (lambda: SqlSource(conn_id="w", sql="x", tables="t"), r"^SqlSource: tables is 't'; it is a tuple of tables"),
        (
            lambda: SqlSource(conn_id="w", sql="x", parameters=["a"]),
            r"^SqlSource: parameters is \['a'\]; it is values by",
        ),
        (lambda: SqlSource(conn_id="w", sql="x", parameters={"a b": 1}), r"parameters is {'a b': 1}; it is values by"),
        (lambda: SqlSource(conn="w", sql="x"), r"^SqlSource: there is no field 'conn'; did you mean 'conn_id'\?$"),
        (lambda: FileSource(path=" "), r"^FileSource: path is ' '; it is the path of a file or a folder$"),
        (
            lambda: FileSource(path="a", format="xlsx"),
            "^FileSource: format is 'xlsx'; it is csv, jsonl, parquet or tsv",
        ),
        (
            lambda: FileTarget(path="a", partition_by="id"),
            r"^FileTarget: partition_by is 'id'; it is a tuple of column",
        ),
        (lambda: SqlTarget(conn_id="w", table="t", runs_table=" "), "^SqlTarget: runs_table is ' '; it is the name of"),
    ],
)
def test_a_source_or_target_that_cannot_work_is_refused_by_name(declare, message):
    with pytest.raises(ConfigError, match=message):
        declare()


def test_a_long_value_is_cut_in_the_message(make_job):
    with pytest.raises(ConfigError) as raised:
        make_job(carry="x" * 10_000)
    assert len(str(raised.value)) < 400


def test_a_job_is_a_value(make_job):
    budget = Budget(max_cost=5, max_rows=10)
    params = {"max_tokens": 5}
    job = make_job(budget=budget, params=params, key=["a", "b"], carry=["c"])
    assert pickle.loads(pickle.dumps(job)) == copy.deepcopy(job) == job
    assert job != dataclasses.replace(job, attempts=3)
    assert (job.key, job.carry) == (("a", "b"), ("c",))
    assert job.budget is budget
    assert hash(budget) == hash(Budget(max_cost=5, max_rows=10))
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.attempts = 3
    with pytest.raises(ConfigError, match="attempts is 0"):
        dataclasses.replace(job, attempts=0)


def test_several_models_are_part_of_the_targets_key(make_job):
    assert make_job(model="m").target_key == ("id",)
    job = make_job(model=["m", "n"], key=("a", "b"))
    assert job.target_key == ("a", "b", "model")
    # A run of some of them writes into the same rows.
    assert dataclasses.replace(job, model=["m"]).target_key == job.target_key


def test_a_sample_is_part_of_the_targets_key_where_there_are_several(make_job):
    assert make_job(samples=2).target_key == ("id", "sample")
    assert make_job(model=["m", "n"], samples=2).target_key == ("id", "model", "sample")
    assert make_job(model=["m", "n"], samples=2).model_samples == (("m", 1), ("m", 2), ("n", 1), ("n", 2))
    # The name is free where there is one.
    assert make_job(key=("id", "sample")).target_key == ("id", "sample")


def test_one_target_and_several_are_targets(make_job):
    dataset = FileTarget(path="answers", partition_by=("id", "status"))
    assert make_job(target=dataset).targets == (dataset,)
    assert make_job(target=[TABLE, dataset]).targets == (TABLE, dataset)


def test_the_old_name_of_an_option_works_and_warns(make_job):
    with pytest.warns(DeprecationWarning, match="left_rows is now orphaned_rows"):
        job = make_job(left_rows="remove")
    assert job.orphaned_rows == "remove"
    with pytest.raises(ConfigError, match="left_rows is the old name of orphaned_rows; give orphaned_rows alone"):
        make_job(left_rows="remove", orphaned_rows="report")
