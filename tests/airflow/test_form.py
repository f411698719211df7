from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from airflow.sdk import DAG, Param
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import DagSerialization

from greennode_airflow.form import check_conf, form_params, own_values
from greennode_airflow.pipeline import batch_table, batch_table_group
from greennode_airflow.runtime.runs import is_partial, run_job
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import FileTarget, SqlTarget

ONE, TWO, THREE = "google/gemma-4-31b-it", "qwen/qwen3-32b", "minimax/minimax-m2.5"
TABLE = SqlTarget(conn_id="warehouse", table="answers")
FILES = FileTarget(path="/data/answers")
SECTION = {"section": Param(None, type=["null", "string"])}


def a_job(**changes: Any) -> BatchJob:
    said = {"model": ONE, "target": TABLE, **changes}
    return BatchJob(
        name="job",
        source=SqlSource(conn_id="warehouse", sql="SELECT 1"),
        key="id",
        prompt="{{ text }}",
        **said,
    )


def as_the_scheduler_has_it(dag: DAG) -> SerializedDAG:
    return DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


def triggered(job: BatchJob, *, own: dict[str, Any] | None = None, **conf: Any) -> dict[str, Any]:
    """The params of a run that is triggered with a conf; raises where Airflow refuses to make the run."""
    dag = as_the_scheduler_has_it(batch_table(job, params=own))
    params = dag.params.deep_merge(conf)
    params.validate()
    return params.dump()


def test_a_run_that_chooses_nothing_is_as_the_job_says() -> None:
    job = a_job(refresh="all", retry_final=True)
    params = triggered(job)
    fields = {"limit": None, "models": ONE, "refresh": "all", "retry_final": True, "mode": None, "dry_run": False}
    assert params == fields
    assert run_job(job, {"params": params}) == job
    assert not is_partial(job, {"params": params}, {})


@pytest.mark.parametrize(
    ("changes", "conf"),
    [
        ({}, {"limit": 0}),
        ({}, {"limit": "many"}),
        ({}, {"limit": 1.5}),
        ({}, {"models": []}),
        ({}, {"models": ""}),
        ({}, {"models": "a model"}),
        ({}, {"models": None}),
        ({}, {"models": [ONE, TWO]}),
        ({}, {"models": ["a model"]}),
        ({"model": [ONE, TWO]}, {"models": []}),
        ({"model": [ONE, TWO]}, {"models": [THREE]}),
        ({"model": [ONE, TWO]}, {"models": [ONE, ONE]}),
        ({}, {"refresh": "some"}),
        ({}, {"retry_final": "perhaps"}),
        ({}, {"dry_run": "perhaps"}),
        ({}, {"section": 7}),
    ],
)
def test_what_the_form_does_not_take_makes_no_run(changes: dict[str, Any], conf: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="Invalid input for param"):
        triggered(a_job(**changes), own=SECTION, **conf)


@pytest.mark.parametrize(
    ("changes", "conf", "model"),
    [
        ({}, {"models": [TWO]}, TWO),
        ({}, {"models": TWO}, TWO),
        ({"model": [ONE]}, {}, [ONE]),
        ({"model": [ONE, TWO]}, {"models": [TWO, ONE]}, (ONE, TWO)),
        # A sequence stays one, for the target's key has the model.
        ({"model": [ONE, TWO]}, {"models": [TWO]}, (TWO,)),
    ],
)
def test_the_chosen_models_are_asked(changes: dict[str, Any], conf: dict[str, Any], model: Any) -> None:
    job = a_job(**changes)
    assert run_job(job, {"params": triggered(job, **conf)}).model == model


@pytest.mark.parametrize("target", [TABLE, FILES, (TABLE, FILES)])
def test_to_ask_again_is_offered_whatever_the_targets(target: Any) -> None:
    job = a_job(target=target)
    assert triggered(job)["refresh"] == job.refresh == "changed"
    assert run_job(job, {"params": triggered(job, refresh="all")}).refresh == "all"


@pytest.mark.parametrize("retry_final", [True, False])
def test_a_person_may_ask_again_what_is_final(retry_final: bool) -> None:  # noqa: FBT001
    job = a_job(retry_final=not retry_final)
    chosen = run_job(job, {"params": triggered(job, retry_final=retry_final)})
    assert chosen.retry_final is retry_final


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"models": [ONE, TWO]}, "uses one model a run"),
        ({"limit": 0}, "limit"),
        ({"models": []}, "models"),
        ({"refresh": "some"}, "refresh"),
        ({"retry_final": "perhaps"}, "retry_final"),
    ],
)
def test_a_dag_of_ones_own_without_such_checks_is_refused_by_name(params: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        run_job(a_job(), {"params": params})
    with pytest.raises(ConfigError, match="has no model"):
        run_job(a_job(model=[ONE, TWO]), {"params": {"models": [ONE, THREE]}})


@pytest.mark.parametrize(
    ("conf", "partial"),
    [
        ({}, False),
        ({"models": [ONE, TWO], "refresh": "all", "retry_final": True, "section": None}, False),
        ({"limit": 5}, True),
        ({"models": [TWO]}, True),
        ({"section": "net"}, True),
        ({"what nobody declared": 1}, True),
        # A TriggerDagRunOperator says by it which task has triggered.
        ({"openlineage": {"parentRunId": "1"}}, False),
    ],
)
def test_a_run_of_a_part_is_told_from_one_of_the_whole_job(conf: dict[str, Any], partial: bool) -> None:  # noqa: FBT001
    job = a_job(model=[ONE, TWO])
    dag = batch_table(job, params=SECTION)
    assert is_partial(job, {"params": triggered(job, own=SECTION, **conf)}, own_values(dag)) is partial


def test_the_dags_own_params_stand_beside_the_jobs() -> None:
    assert set(triggered(a_job(), own=SECTION)) == {
        "section",
        "limit",
        "models",
        "refresh",
        "retry_final",
        "mode",
        "dry_run",
    }
    with pytest.raises(ConfigError, match="may not have limit, dry_run"):
        batch_table(a_job(), params={"limit": 3, "dry_run": True})


def test_every_field_has_a_title_and_says_what_it_does() -> None:
    for params in (form_params(a_job()), form_params(a_job(model=[ONE, TWO]))):
        for name in ("limit", "models", "refresh", "retry_final", "mode", "dry_run"):
            assert params[name].schema["title"]
            assert params[name].description.endswith(".")


def test_each_of_several_jobs_of_a_dag_has_its_own_models() -> None:
    answers = dataclasses.replace(a_job(model=[ONE, TWO]), name="answers")
    outcome_of = dataclasses.replace(a_job(refresh="all", retry_final=True), name="judge")
    with DAG("larger", schedule=None, params=form_params([answers, outcome_of], SECTION)) as dag:
        batch_table_group(answers) >> batch_table_group(outcome_of)
    own = own_values(dag)
    assert set(own) == {"section"}
    params = as_the_scheduler_has_it(dag).params
    models = {"answers.models", "judge.models"}
    assert set(params.dump()) == {"section", "limit", *models, "refresh", "retry_final", "mode", "dry_run"}
    nothing_chosen = {"params": params.dump()}
    assert [run_job(job, nothing_chosen) for job in (answers, outcome_of)] == [answers, outcome_of]
    chosen = params.deep_merge({"answers.models": [TWO], "judge.models": [THREE]})
    chosen.validate()
    context = {"params": chosen.dump()}
    assert [run_job(job, context).model for job in (answers, outcome_of)] == [(TWO,), THREE]
    assert [is_partial(job, context, own) for job in (answers, outcome_of)] == [True, False]
    with pytest.raises(ConfigError, match=r"may not have judge\.models"):
        form_params(answers, {"judge.models": 1})


def test_a_larger_dag_offers_the_same_form() -> None:
    with DAG("larger", schedule=None, params=form_params(a_job(), SECTION)) as dag:
        batch_table_group(a_job())
    assert as_the_scheduler_has_it(dag).params.dump() == triggered(a_job(), own=SECTION)


def test_the_page_suggests_the_models_that_the_job_knows_and_takes_others() -> None:
    field = form_params(a_job(prices={TWO: [1, 2], "currency": "VND"}))["models"].dump()["schema"]
    assert field["examples"] == [ONE, TWO]
    # The page offers a line to type in, with suggestions, where the first type is a text and there are examples.
    assert field["type"] == ["string", "array"]


def test_the_page_suggests_the_models_of_the_settings_as_well(monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW__GREENNODE__MODELS", f" acme/small ,{ONE},, acme/large")
    field = form_params(a_job())["models"].dump()["schema"]
    assert field["examples"] == [ONE, "acme/small", "acme/large"]


def test_a_field_that_may_be_empty_says_in_words_what_that_means() -> None:
    fields = form_params([a_job(), dataclasses.replace(a_job(), name="judge")])
    for name, field in fields.items():
        schema = field.dump()["schema"]
        if None in schema.get("enum", ()):
            assert schema["values_display"]["null"] == "as each job says", name


NAMES = frozenset({"limit", "models", "refresh", "retry_final", "mode", "dry_run", "judge.models", "section"})


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("limt", "limit"),
        ("Limit", "limit"),
        ("lmiit", "limit"),
        ("limits", "limit"),
        ("dryrun", "dry_run"),
        ("dry-run", "dry_run"),
        ("DRY_RUN", "dry_run"),
        ("dryRun", "dry_run"),
        ("model", "models"),
        ("refesh", "refresh"),
        ("retry final", "retry_final"),
        ("judge.model", "judge.models"),
        ("judge_models", "judge.models"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_misspelt_field_is_refused_with_the_nearest(key: str, nearest: str, strict: bool) -> None:  # noqa: FBT001
    with pytest.raises(ConfigError, match=rf"{key!r} \(did you mean {nearest!r}\?\).* Nothing was sent"):
        check_conf({key: 3, "limit": 1}, NAMES, strict=strict)


@pytest.mark.parametrize("key", ["table", "method", "date", "run", "min_urgency", "limit_rows_of_export", "", "ü"])
def test_another_tasks_key_is_refused_where_no_other_task_is_alone(key: str) -> None:
    check_conf({key: 1}, NAMES, strict=False)
    with pytest.raises(ConfigError, match=rf"has {key!r}.*strict_conf=False"):
        check_conf({key: 1}, NAMES, strict=True)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("conf", [None, {}, {"limit": 1}, {"section": "a", "judge.models": []}, {"openlineage": {}}])
def test_what_the_dag_declares_and_airflow_adds_is_taken(conf: Any, strict: bool) -> None:  # noqa: FBT001
    check_conf(conf, NAMES, strict=strict)
    with pytest.raises(ConfigError, match="no param of this DAG has that name"):
        check_conf({**(conf or {}), "sections": 1, "limt": 1}, NAMES, strict=strict)


@pytest.mark.parametrize(
    ("mode", "declared", "live"),
    [
        (None, Live(under=5), Live(under=5)),
        ("live", None, Live(only=True)),
        ("batch", Live(only=True), None),
    ],
)
def test_a_person_may_choose_how_requests_are_answered(
    mode: str | None, declared: Live | None, live: Live | None
) -> None:
    job = a_job(live=declared)
    assert run_job(job, {"params": triggered(job, mode=mode)}).live == live
