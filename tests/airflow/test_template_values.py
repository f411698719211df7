from __future__ import annotations

import datetime
from typing import Any

import jinja2
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from greennode_airflow.operators.build_requests import GreenNodeBuildRequestsOperator
from greennode_airflow.operators.query import QueryOperator
from greennode_airflow.operators.source import SqlParameters
from greennode_airflow.operators.table import GreenNodeJoinResultsOperator
from greennode_airflow.runtime.template_values import template_values
from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import SqlSource
from greennode_batch.job.targets import SqlTarget

DAY = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
BY_HAND: dict[str, Any] = {"partition_key": None, "partition_date": None, "run_id": "manual__1"}
OF_DAY = {**BY_HAND, "logical_date": DAY, "ds": "2026-03-01", "data_interval_start": DAY, "data_interval_end": DAY}
OF_PARTITION = {**BY_HAND, "partition_key": "2026-03-01", "partition_date": DAY}


def rendered(template: str, context: dict[str, Any]) -> str:
    return jinja2.Environment().from_string(template).render(**template_values(context))


@pytest.mark.parametrize(
    "template",
    [
        "{{ ds }}",
        "{{ ds[:7] }}",
        "{{ ds | replace('-', '') }}",
        "{{ 'day=' ~ ds }}",
        "{{ 'day=%s' % ds }}",
        "{{ ds_nodash }}",
        "{{ ts }}",
        "{{ logical_date.strftime('%Y') }}",
        "{{ data_interval_start }}",
        "{{ data_interval_end.add(days=1) }}",
        "{{ partition_key }}",
        "{{ partition_key.split('|')[0] }}",
        "{{ partition_date }}",
        "{% if partition_key is not none %}{{ partition_key }}{% endif %}",
    ],
)
def test_what_a_run_by_hand_lacks_is_never_written_as_nothing(template: str) -> None:
    with pytest.raises(ConfigError, match=r"a template of the job uses \w+, which this run does not have: trigger it"):
        rendered(template, BY_HAND)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ ds or 'never' }}", "never"),
        ("{{ data_interval_end or logical_date or run_id }}", "manual__1"),
        ("{% if partition_key %}{{ partition_key }}{% else %}all{% endif %}", "all"),
        ("{{ partition_key | default('all') }}", "all"),
        ("{{ partition_key is defined }}", "False"),
        ("{{ run_id }}", "manual__1"),
    ],
)
def test_a_template_may_test_for_what_a_run_lacks(template: str, expected: str) -> None:
    assert rendered(template, BY_HAND) == expected


def test_what_a_run_has_is_rendered_as_ever() -> None:
    assert rendered("{{ ds }} {{ data_interval_end.day }}", OF_DAY) == "2026-03-01 1"
    assert rendered("{{ partition_key }} {{ partition_date.day }}", OF_PARTITION) == "2026-03-01 1"
    with pytest.raises(ConfigError, match="a run of a partition has no logical date; use partition_key or"):
        rendered("{{ ds }}", OF_PARTITION)


def test_every_operator_with_a_template_fails_at_once() -> None:
    with DAG("own", schedule=None):
        query = QueryOperator(task_id="query", source=SqlSource(conn_id="w", sql="SELECT '{{ ds }}'"))
        target = SqlTarget(conn_id="w", table="answers_{{ ds_nodash }}")
        join = GreenNodeJoinResultsOperator(task_id="join", shard="s", target=target, key=("id",))
    for operator in (query, join):
        with pytest.raises(AirflowFailException, match="this run does not have"):
            operator.render_template_fields({**BY_HAND, "task": operator})


def test_a_parameter_of_one_expression_says_what_the_run_lacks(parameters_operator: Any) -> None:
    with pytest.raises(AirflowFailException, match="uses partition_key, which this run does not have"):
        parameters_operator.render_template(SqlParameters(day="{{ partition_key }}"), BY_HAND)
    assert parameters_operator.render_template(SqlParameters(day="{{ partition_date }}"), OF_PARTITION) == {"day": DAY}


@pytest.fixture
def parameters_operator() -> Any:
    with DAG("own", schedule=None):
        return GreenNodeBuildRequestsOperator(
            task_id="build_requests",
            job=BatchJob(
                name="own",
                source=SqlSource(conn_id="w", sql="SELECT 1"),
                key="id",
                model="m",
                prompt="{{ body }}",
                target=SqlTarget(conn_id="w", table="t"),
            ),
        )
