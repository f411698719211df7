"""`@task.greennode_batch`: the rows of a function get their answers, and a task behind reads them as a DataFrame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from greennode_emulator.server import RunningEmulator

ROWS = """
import json
from typing import Literal

import pandas as pd
from airflow.sdk import DAG, task
from pydantic import BaseModel

from greennode_airflow.run_result import read_answers
from greennode_batch.job import SqlSource, SqlTarget


class Label(BaseModel):
    mood: Literal["good", "bad"]
    score: int


with DAG("own", schedule=None):

    @task.greennode_batch(
        key="id", prompt="{{{{ text }}}}", model={model}, answer=Label, canary=0, max_shard_requests=2{more}
    )
    def label(count):
        {body}

    @task
    def after(result):
        answers = read_answers(result)
        assert "note 1" not in json.dumps(result), "rows do not travel"
        return {{"succeeded": result["succeeded"], "rows": json.loads(answers.to_json(orient="records"))}}

    after(label(5))
"""

FRAME = 'return pd.DataFrame({"id": range(count, 0, -1), "text": [f"note {n}" for n in range(count)]})'
LIST = 'return [{"id": n, "text": f"note {n}"} for n in range(count)]'
QUERY = 'return SqlSource(conn_id="warehouse", sql="SELECT id, body AS text FROM texts")'


def own(body: str, more: str = "", model: str = '"google/gemma-4-31b-it"') -> str:
    return ROWS.format(body=body, more=more, model=model)


def test_the_rows_of_a_function_come_back_in_their_order_with_their_answers(
    run_file: Callable[..., dict[str, str]], emulator: RunningEmulator, tmp_path: Any
) -> None:
    text = own(FRAME).replace("return {", f"answers.to_parquet({str(tmp_path / 'seen.parquet')!r}); return {{")
    assert run_file(text) == {"": "success", "label": "success", "after": "success"}
    seen = pd.read_parquet(tmp_path / "seen.parquet")
    assert seen["id"].tolist() == [5, 4, 3, 2, 1]
    assert set(seen["mood"]) <= {"good", "bad"}
    assert set(seen["status"]) == {"succeeded"}
    assert emulator.ledger()["requests_billed"] == 5
    # The next day's run asks nothing again, and its result has all rows nevertheless.
    assert run_file(text)["after"] == "success"
    assert len(pd.read_parquet(tmp_path / "seen.parquet")) == 5
    assert emulator.ledger()["requests_billed"] == 5


def after(done: dict[str, list[Any]]) -> dict[str, Any]:
    (result,) = done["after"]
    return result


RunSteps = Callable[..., dict[str, list[Any]]]


def test_a_list_of_rows_and_a_target_that_the_task_names(run_own: RunSteps, warehouse: psycopg.Connection) -> None:
    result = after(run_own(own(LIST, ', target=SqlTarget(conn_id="warehouse", table="labels")')))
    assert [row["id"] for row in result["rows"]] == [0, 1, 2, 3, 4]
    assert {row["status"] for row in result["rows"]} == {"succeeded"}
    assert warehouse.execute("SELECT count(*) FROM labels").fetchone() == (5,)


def test_a_query_that_the_function_returns_is_read_by_the_task(
    run_own: RunSteps, warehouse: psycopg.Connection
) -> None:
    warehouse.execute("CREATE TABLE texts AS SELECT i AS id, 'text ' || i AS body FROM generate_series(1, 3) i")
    result = after(run_own(own(QUERY)))
    assert sorted(row["id"] for row in result["rows"]) == [1, 2, 3]
    assert {row["mood"] for row in result["rows"]} <= {"good", "bad"}


def test_several_models_give_each_row_as_often(run_own: RunSteps) -> None:
    result = after(run_own(own(LIST, model='["google/gemma-4-31b-it"]')))
    assert [(row["id"], row["model"]) for row in result["rows"]] == [(n, "google/gemma-4-31b-it") for n in range(5)]


def test_a_function_that_returns_no_rows_is_told_so(run_own: RunSteps, emulator: RunningEmulator) -> None:
    with pytest.raises(AirflowFailException, match="label returned what is not rows"):
        run_own(own("return 5"))
    assert emulator.ledger()["requests_billed"] == 0


def test_an_empty_table_ends_well(run_own: RunSteps) -> None:
    result = after(run_own(own(FRAME).replace("label(5)", "label(0)")))
    assert result == {"succeeded": 0, "rows": []}
