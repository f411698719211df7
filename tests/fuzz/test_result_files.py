"""Whole result files, whatever they hold: every request has one row, and what was not touched keeps its answer."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import Literal

import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.collect.anomalies import AnomalyLog
from greennode_batch.collect.results import write_results
from greennode_batch.state.row_status import RowStatus

FILES = 150
REQUESTS = 30
ENDS = [status for status in BatchStatus if status.is_terminal]


class Label(BaseModel):
    label: Literal["good", "bad"]
    score: int
    note: str | None = None


def custom_id(n: int) -> str:
    return f"{n * 0x9E3779B97F4A7C15 % 2**128:032x}"


def text_of(n: int) -> str:
    return json.dumps({"label": ("good", "bad")[n % 2], "score": n, "note": f"row {n}\u2028é"})


def line_of(n: int) -> dict:
    message = {"role": "assistant", "content": text_of(n)}
    body = {"created": 1_760_000_000 + n, "model": "m", "choices": [{"message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": n, "completion_tokens": 2}}  # fmt: skip
    match n % 5:
        case 0:
            return {"custom_id": custom_id(n), "response": body}
        case 1:
            error = {"code": "server_error", "message": f"broke at {n}"}
            return {"custom_id": custom_id(n), "response": None, "error": error}
        case _:
            response = {"status_code": 200, "request_id": f"r{n}", "body": body}
            return {"id": f"b{n}", "custom_id": custom_id(n), "response": response, "error": None}


def write_file(mutate, path) -> dict[int, bool]:
    """A file with lines of some requests, many of them mutated; which lines are as they were."""
    rng = mutate.rng
    untouched: dict[int, bool] = {}
    lines: list[bytes] = []
    for n in rng.sample(range(REQUESTS), rng.randrange(REQUESTS)):
        data = json.dumps(line_of(n), ensure_ascii=False).encode()
        untouched[n] = rng.random() < 0.5
        if not untouched[n]:
            other = lines[-1] if lines else b"{}"
            data = (
                mutate.twisted_json(line_of(n), twists=2) if rng.random() < 0.5 else mutate.twisted_bytes(data, other)
            )
        lines.append(data)
    whole = rng.choice((b"\n", b"\n", b"\r\n", b"\n\n")).join(lines) + rng.choice((b"\n", b""))
    if rng.random() < 0.3 and whole:
        whole = mutate.twisted_bytes(whole, b"\n".join(lines))
        untouched = dict.fromkeys(untouched, False)
    path.write_bytes(whole)
    return untouched


@pytest.mark.parametrize("model", [None, Label])
def test_every_request_has_exactly_one_row_whatever_the_files_hold(model, mutator, times, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    mutate = mutator(f"files {model}")
    reader = AnswerReader(model)
    output, errors, made = tmp_path / "output.jsonl", tmp_path / "errors.jsonl", tmp_path / "results.parquet"
    requested = [custom_id(n) for n in range(REQUESTS)]
    statuses: Counter[str] = Counter()
    anomalies: Counter[str] = Counter()
    kept = 0
    for _ in range(int(FILES * times)):
        in_output, in_errors = write_file(mutate, output), write_file(mutate, errors)
        end = mutate.rng.choice(ENDS)
        batch = Batch(id="b", status=end, raw_status=end.value, errors=mutate.rng.choice(((), ("all is lost",))))
        try:
            with AnomalyLog(tmp_path / "anomalies.jsonl") as noted:
                write_results(batch, [output, errors], requested, reader, made, anomalies=noted)
            anomalies += noted.counts
            rows = pq.read_table(made).to_pylist()
            assert sorted(row["custom_id"] for row in rows) == sorted(requested)
            assert {row["status"] for row in rows} <= set(RowStatus)
            by_id = {row["custom_id"]: row for row in rows}
            # A failure may give way to an answer for the same request; an answer that can be used gives way to nothing.
            answered = [n for n in range(REQUESTS) if n % 5 != 1 and (in_output.get(n) or in_errors.get(n))]
            both = output.read_bytes() + errors.read_bytes()
            for n in answered:
                assert by_id[custom_id(n)]["status"] == "succeeded"
                # Of several lines for one request the last answer counts, and a twisted one may be as good.
                if in_output.get(n) and both.count(custom_id(n).encode()) == 1:
                    assert answer_in(by_id[custom_id(n)], model) == json.loads(text_of(n))
        except BaseException as error:
            error.add_note(f"output: {output.read_bytes()[:5000]!r}\nerrors: {errors.read_bytes()[:5000]!r}")
            raise
        kept += len(answered)
        statuses.update(row["status"] for row in rows)
    assert statuses.total() == int(FILES * times) * REQUESTS
    # The files are neither all lost nor all well.
    assert kept > statuses.total() / 10
    assert {"succeeded", "failed", "missing", "expired", "cancelled", "invalid_output"} <= statuses.keys()
    assert {"not_json", "no_custom_id", "unknown custom_id", "second line for a custom_id"} <= anomalies.keys()


def answer_in(row: dict, model: type[BaseModel] | None) -> dict:
    if model is None:
        return json.loads(row["answer"])
    return {name: row[name] for name in model.model_fields}
