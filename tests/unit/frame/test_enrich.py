"""Rows in, the same rows with answers out: of each kind, in their order, and never paid twice."""

import datetime
import logging
import subprocess
import sys
from functools import partial
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

import greennode_batch
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.errors import BudgetError, ConfigError, FailedRowsError
from greennode_batch.job import Budget, Live
from greennode_batch.state.job_result import RunResult

MODEL = "google/gemma-4-31b-it"
NEW = ["mood", "score", "urgent", "words", "status", "error", "prompt_tokens", "completion_tokens"]


class Label(BaseModel):
    mood: Literal["good", "bad"]
    score: int
    urgent: bool
    words: list[str]


@pytest.fixture
def server(emulator, monkeypatch, tmp_path, quick_polls):
    monkeypatch.setenv("GREENNODE_API_KEY", emulator.api_key)
    monkeypatch.setenv("GREENNODE_BASE_URL", emulator.base_url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return emulator


@pytest.fixture
def enrich(server):
    return partial(greennode_batch.enrich, key="id", prompt="{{ text }}", model=MODEL, canary=0, progress=False)


@pytest.fixture
def estimate(server):
    return partial(greennode_batch.estimate, key="id", prompt="{{ text }}", model=MODEL)


def table(*ids):
    return pd.DataFrame({"id": ids, "text": [f"note {one}" for one in ids]})


def billed(server):
    return server.ledger()["requests_billed"]


def test_a_pandas_frame_has_typed_answers_behind_its_own_columns_in_its_order_and_with_its_index(enrich):
    rows = table(3, 1, 2).assign(when=datetime.date(2026, 1, 31)).set_index(pd.Index(["x", "y", "z"]))
    before = rows.copy()
    given = enrich(rows, answer=Label)
    assert list(given.columns) == ["id", "text", "when", *NEW]
    assert list(given.index) == ["x", "y", "z"]
    assert list(given["id"]) == [3, 1, 2]
    assert [str(given[name].dtype) for name in ("mood", "score", "urgent")] == ["str", "Int64", "boolean"]
    assert isinstance(given["words"].iloc[0], list)
    assert set(given["status"]) == {"succeeded"}
    assert given["error"].isna().all()
    pd.testing.assert_frame_equal(rows, before)


def test_columns_without_a_header_are_named_by_their_number(enrich):
    rows = pd.DataFrame([[1, "a"], [2, "b"]])
    given = enrich(rows, key="0", prompt='{{ row["1"] }}')
    assert list(given.columns) == [0, 1, "answer", *NEW[-4:]]
    assert list(given["status"]) == ["succeeded"] * 2


def test_arrow_rows_and_dicts_come_back_as_what_they_were(enrich):
    arrow = pa.table({"id": [2, 1], "text": ["b", "a"]})
    given = enrich(arrow, answer=Label)
    assert isinstance(given, pa.Table)
    assert given.column_names == ["id", "text", *NEW]
    assert given["id"].to_pylist() == [2, 1]
    assert given.schema.field("score").type == pa.int64()
    dicts = enrich(arrow.to_pylist(), answer=Label)
    assert [row["id"] for row in dicts] == [2, 1]
    assert isinstance(dicts[0]["words"], list)
    assert [row["mood"] for row in dicts] == given["mood"].to_pylist()


def test_equal_rows_are_one_call_of_whichever_kind(enrich, server, tmp_path):
    rows = table(1, 2)
    enrich(rows)
    enrich(rows.to_dict("records"))
    enrich(pa.Table.from_pandas(rows))
    pq.write_table(pa.Table.from_pandas(rows), tmp_path / "rows.parquet")
    from_path = enrich(tmp_path / "rows.parquet")
    assert isinstance(from_path, pd.DataFrame)
    assert billed(server) == 2


def test_polars_comes_back_as_polars(enrich, server):
    polars = pytest.importorskip("polars")
    rows = polars.DataFrame({"id": [2, 1], "text": ["note 2", "note 1"]})
    given = enrich(rows, answer=Label)
    assert isinstance(given, polars.DataFrame)
    assert given["id"].to_list() == [2, 1]
    assert given.schema["score"] == polars.Int64
    enrich(table(2, 1), answer=Label)
    assert billed(server) == 2


def test_the_same_call_again_pays_nothing_and_one_with_more_rows_pays_for_these(enrich, server):
    first = enrich(table(1, 2))
    pd.testing.assert_frame_equal(enrich(table(1, 2)), first)
    assert billed(server) == 2
    more = enrich(table(4, 1, 2, 3))
    assert billed(server) == 4
    assert list(more["id"]) == [4, 1, 2, 3]
    assert set(more["status"]) == {"succeeded"}
    # What the prompt does not name is no part of the question.
    enrich(table(4, 1, 2, 3).assign(other=1))
    assert billed(server) == 4


def test_two_tables_with_the_same_keys_do_not_pay_for_each_other_s_answers(enrich, server):
    one = table(1, 2)
    other = one.assign(text=["x", "y"])
    answers = [enrich(rows)["answer"].tolist() for rows in (one, other, one, other)]
    assert answers[0] == answers[2] != answers[1] == answers[3]
    assert billed(server) == 4


def test_refresh_asks_all_again(enrich, server):
    enrich(table(1, 2))
    enrich(table(1, 2), refresh="all")
    assert billed(server) == 4


def test_a_row_without_an_answer_has_a_status_and_an_error_and_the_next_call_asks_it_again(enrich, server):
    server.faults([{"kind": "line_error", "status": 500, "count": 1, "batches": 1}])
    with pytest.warns(UserWarning, match="1 row has no answer"):
        given, result = enrich(table(1, 2, 3), answer=Label, attempts=1, with_result=True)
    assert sorted(given["status"]) == ["failed", "succeeded", "succeeded"]
    assert given["score"].isna().sum() == 1
    assert given.loc[given["status"] == "failed", "error"].notna().all()
    assert (result.succeeded, result.failed) == (2, 1)
    assert pq.read_table(result.targets[0].path).num_rows == 3
    # What is handed on as JSON is the same result, and tells who has no Python as much.
    assert RunResult.from_json(result.to_json()) == result
    assert result.to_json()["failed"] == 1
    assert set(enrich(table(1, 2, 3), answer=Label, attempts=1)["status"]) == {"succeeded"}


def test_a_ratio_that_the_call_gives_makes_too_many_failures_an_error(enrich, server):
    server.faults([{"kind": "line_error", "status": 400, "count": 2, "batches": 1}])
    with pytest.raises(FailedRowsError, match="max_failed_ratio"):
        enrich(table(1, 2, 3), max_failed_ratio=0.1)


def test_a_call_that_is_stopped_says_so_and_goes_on_with_what_it_has_sent(enrich, server, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("greennode_batch.run.poll", stop)
        with pytest.raises(KeyboardInterrupt) as stopped:
            enrich(table(1, 2))
    assert "make the same call again to go on" in stopped.value.__notes__[0]
    assert set(enrich(table(1, 2))["status"]) == {"succeeded"}
    assert billed(server) == 2
    assert len(server.ledger()["batches"]) == 1


def test_several_models_and_samples_give_each_row_as_often(enrich):
    rows = table(2, 1)
    given = enrich(rows, model=[MODEL], samples=2)
    assert list(zip(given["id"], given["model"], given["sample"], strict=True)) == [
        (2, MODEL, 1), (2, MODEL, 2), (1, MODEL, 1), (1, MODEL, 2),
    ]  # fmt: skip
    assert list(given.index) == [0, 0, 1, 1]


def test_no_rows_give_no_rows_with_the_columns(enrich):
    given = enrich(table().astype({"id": "int64", "text": "str"}), answer=Label)
    assert list(given.columns) == ["id", "text", *NEW]
    assert len(given) == 0


def test_keys_of_any_type_find_their_answers(enrich):
    rows = pd.DataFrame(
        {
            "day": [datetime.date(2026, 1, 2), datetime.date(2026, 1, 1)],
            "at": pd.to_datetime(["2026-01-02 03:04:05+07:00", "2026-01-01 00:00:00+07:00"]),
            "kind": pd.Categorical(["b", "a"]),
            "text": ["x", "y"],
        }
    )
    given = enrich(rows, key=["day", "at", "kind"])
    assert set(given["status"]) == {"succeeded"}
    assert enrich(rows.set_index("kind"), key="kind")["status"].tolist() == ["succeeded", "succeeded"]


def test_the_same_question_about_keys_of_another_type_begins_anew(enrich, server):
    for keys in (["a", "b"], [datetime.date(2026, 1, 31)], [1.5, 2.0], [1, 2], [1, (1 << 64) - 1]):
        asked = enrich(pd.DataFrame({"id": keys, "text": [f"text {key}" for key in keys]}))
        assert asked["id"].tolist() == keys
        assert asked["status"].tolist() == ["succeeded"] * len(keys)
    # As floats these keys are the same, and small enough to be apart.
    before = billed(server)
    enrich(pd.DataFrame({"id": [1.0, 2.0], "text": ["text 1", "text 2"]}))
    assert billed(server) == before


def test_columns_of_mixed_values_reach_the_prompt_and_a_row_that_asks_nothing_says_so(enrich):
    rows = [{"id": 1, "text": "a"}, {"id": 2, "text": 5}, {"id": "3", "text": None}, {"id": 4, "text": {"a": [1]}}]
    with pytest.warns(UserWarning, match="1 row has no answer"):
        given = enrich(rows)
    assert [row["status"] for row in given] == ["succeeded", "succeeded", "unsent", "succeeded"]
    assert [row["id"] for row in given] == [1, 2, "3", 4]


def test_an_estimate_counts_what_is_not_answered_yet_and_sends_nothing(estimate, enrich, server, monkeypatch):
    prices = {MODEL: [1000, 1000]}
    monkeypatch.delenv("GREENNODE_API_KEY")
    before = estimate(table(1, 2, 3), prices=prices, params={"max_tokens": 200})
    assert before.requests == 3
    assert before.cost > 0
    assert "note 1" in repr(before)
    assert billed(server) == 0
    monkeypatch.setenv("GREENNODE_API_KEY", server.api_key)
    enrich(table(1, 2), params={"max_tokens": 200})
    assert estimate(table(1, 2, 3), params={"max_tokens": 200}).requests == 1
    assert estimate(table(1, 2), params={"max_tokens": 200}).requests == 0
    monkeypatch.delenv("GREENNODE_BASE_URL")
    assert estimate(table(1, 2), params={"max_tokens": 200}).requests == 2


def test_a_budget_stops_the_call_before_anything_is_sent(enrich, server):
    with pytest.raises(BudgetError):
        enrich(table(1, 2), budget=Budget(max_rows=1))
    assert billed(server) == 0


def test_a_client_of_the_caller_is_used_and_stays_open(server, tmp_path):
    with GreenNodeClient(server.base_url, server.api_key) as client:
        for _ in range(2):
            greennode_batch.enrich(
                table(1), key="id", prompt="{{ text }}", model=MODEL, canary=0, connection=client, staging=tmp_path,
                progress=False,
            )  # fmt: skip
    assert billed(server) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": 5}, "the rows are builtins.int; give a pandas or polars DataFrame"),
        ({"data": "gone.parquet"}, "gone.parquet: cannot be read as Parquet"),
        ({"data": table(1).assign(status="x")}, "the rows have the columns status, which the answers have as well"),
        ({"data": pd.DataFrame([[1, 2]], columns=["id", "id"]), "prompt": "x"}, "the column id twice"),
        ({"key": "number"}, "has no column number .it has id, text."),
        ({"prompt": "{{ texts }}"}, "texts"),
        ({"carry": "text"}, "carry: enrich sets these itself"),
        ({"sample": 2}, "did you mean 'samples'"),
        ({"data": table(1, 1)}, "twice|more than once"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(enrich, server, change, said):
    data = change.pop("data", table(1))
    with pytest.raises(ConfigError, match=said):
        enrich(data, **change)
    assert billed(server) == 0


@pytest.mark.parametrize(
    ("variable", "said"), [("GREENNODE_API_KEY", "GREENNODE_API_KEY"), ("GREENNODE_BASE_URL", "base_url=")]
)
def test_a_missing_key_or_address_is_named(enrich, monkeypatch, variable, said):
    monkeypatch.delenv(variable)
    with pytest.raises(ConfigError, match=said):
        enrich(table(1))


def test_the_progress_is_shown_and_the_log_is_as_it_was(enrich, capfd):
    enrich(table(1), progress=True)
    assert "1 row" in capfd.readouterr().err
    assert logging.getLogger("greennode_batch").level == logging.NOTSET


def test_the_package_loads_neither_arrow_nor_pandas_before_it_is_called():
    code = "import sys, greennode_batch; sys.exit(bool({'pyarrow', 'pandas', 'polars'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_live_answers_need_no_batch_and_the_same_call_in_batches_asks_nothing_again(enrich, server):
    given = enrich(table(1, 2), answer=Label, mode="live")
    assert set(given["status"]) == {"succeeded"}
    ledger = server.ledger()
    assert (ledger["batches_created"], ledger["chat_requests_billed"]) == (0, 2)
    again = enrich(table(1, 2, 3), answer=Label)
    pd.testing.assert_frame_equal(again.head(2), given)
    ledger = server.ledger()
    assert (ledger["batches_created"], ledger["requests_billed"], ledger["chat_requests_billed"]) == (1, 1, 2)


def test_an_estimate_of_live_answers_has_their_price(estimate, server):
    options = {"prices": {MODEL: [1000, 1000]}, "params": {"max_tokens": 200}}
    assert estimate(table(1), mode="live", **options).cost == 2 * estimate(table(1), **options).cost > 0


def test_a_mode_is_one_of_two_and_stands_alone(enrich, server):
    with pytest.raises(ConfigError, match='it is "batch" or "live"'):
        enrich(table(1), mode="now")
    with pytest.raises(ConfigError, match="not both"):
        enrich(table(1), mode="live", live=Live(under=5))
    assert not server.ledger()["calls"]
