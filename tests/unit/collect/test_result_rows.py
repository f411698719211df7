import enum
import json
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.results import result_lines as lines_module
from greennode_batch.api.results.result_lines import parse_line
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.collect.anomalies import AnomalyLog
from greennode_batch.collect.result_rows import RESULT_FIELDS, plain_rows, row_of_line, table_of_rows
from greennode_batch.collect.results import write_results

BATCH = Batch(id="b", status=BatchStatus.COMPLETED, raw_status="completed", completed_at=1_700_000_000.5)
IDS = "abcdef"


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Label(BaseModel):
    label: Literal["good", "bad"]
    mood: Mood = Mood.GOOD
    score: int = 0
    note: str | None = None
    rest: dict[str, Any] | None = None


typed_texts = st.fixed_dictionaries(
    {"label": st.sampled_from(["good", "bad", "none"])},
    optional={
        "mood": st.sampled_from(["good", "bad"]),
        "score": st.sampled_from([0, -1, 2**63 - 1, 2**63, 10**30]),
        "note": st.sampled_from([None, "", "é\u2028"]),
        "rest": st.sampled_from([None, {}, {"a": [1]}]),
    },
).map(json.dumps)
contents = st.one_of(
    typed_texts,
    typed_texts.map(lambda text: f"```json\n{text}\n```"),
    typed_texts.map(lambda text: f"<think>hm</think>\n<answer>{text}</answer>"),
    st.sampled_from([None, "", " \n", "yes", "a < b", "<think>only", "<think>x</think>", "<answer></answer>"]),
)
messages = st.fixed_dictionaries(
    {"content": contents},
    optional={
        "reasoning_content": st.sampled_from(["because", "", None]),
        "reasoning": st.just("so"),
        "refusal": st.sampled_from([None, "", "no"]),
    },
)
usages = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": st.sampled_from([None, 0, 7, -1, 2**63 - 1, 2**63]),
        "completion_tokens": st.sampled_from([None, 3]),
        "prompt_tokens_details": st.sampled_from([None, {}, {"cached_tokens": 5}, {"cached_tokens": -1}]),
        "completion_tokens_details": st.sampled_from([None, {"reasoning_tokens": 2}, {"reasoning_tokens": 2**63}]),
    },
)
ends = st.sampled_from(["stop"] * 5 + ["length", "content_filter", "abort", "new", None])
times = st.sampled_from([None, 0, 1_760_000_000, 100_000_000_000, 10**17, -5])
custom_ids = st.sampled_from([*IDS, "unknown", ""])


def answered(custom_id, message, usage, end, created, status=200):
    body = {"choices": [{"message": message, "finish_reason": end}], "usage": usage, "created": created}
    return json.dumps({"custom_id": custom_id, "response": {"status_code": status, "body": body}}).encode()


def failed(custom_id):
    return json.dumps({"custom_id": custom_id, "response": None, "error": {"message": "broke"}}).encode()


answers = st.builds(answered, custom_ids, messages, st.none() | usages, ends, times, st.sampled_from([200, 200, 201]))
plain_answers = st.builds(
    answered, st.sampled_from(IDS), st.builds(lambda text: {"content": text}, contents), usages, st.just("stop"), times
)
odd = st.sampled_from([b"null", b"{", b"\xff", b"   ", b'{"custom_id": "a"', b'{"custom_id": "a"}{"custom_id": "b"}'])
files_lines = st.lists(st.one_of(plain_answers, plain_answers, answers, st.builds(failed, custom_ids), odd))
models = pytest.mark.parametrize("model", [None, Label])


@models
@given(lines=files_lines)
def test_rows_made_at_once_are_those_of_each_line(model, lines):
    reader = AnswerReader(model)
    schema = pa.schema([*RESULT_FIELDS, *reader.fields])
    plain = plain_rows(lines, reader)
    parsed = [parse_line(line) for line in lines]
    said = [parsed[index] for index in plain.indexes]
    expected = table_of_rows([row_of_line(line, reader, BATCH) for line in said], schema)
    assert plain.table(BATCH, schema).equals(expected) if said else not plain.custom_ids
    assert list(plain.custom_ids) == [line.custom_id for line in said]
    assert set(expected["status"].to_pylist()) <= {"succeeded"}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, {"content": "yes"}),
        (None, {"content": "<think>hm</think>yes"}),
        (None, {"content": "[THINK]hm[/THINK]yes"}),
        (None, {"content": "yes", "reasoning_content": "hm"}),
        (Label, {"content": '{"label": "good"}'}),
        (Label, {"content": '<think>hm</think>```json\n{"label": "good"}\n```'}),
    ],
)
def test_the_commonest_answers_are_all_read_at_once(model, message):
    lines = [answered(custom_id, message, {}, "stop", 1_760_000_000) for custom_id in IDS]
    assert list(plain_rows(lines, AnswerReader(model)).indexes) == list(range(len(IDS)))


@models
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(files_lines, min_size=1, max_size=2), end=st.sampled_from([b"\n", b"\r\n"]), data=st.data())
def test_where_the_bytes_are_cut_says_nothing_about_the_rows(model, tmp_path, files, end, data):
    paths = []
    for number, lines in enumerate(files):
        paths.append(tmp_path / f"{number}.jsonl")
        paths[-1].write_bytes(end.join(lines))
    whole = max(path.stat().st_size for path in paths) + 2
    # With pieces of one byte each line comes by itself.
    line_by_line = written(tmp_path, paths, model, chunk_bytes=1)
    assert written(tmp_path, paths, model, chunk_bytes=data.draw(st.integers(2, whole))) == line_by_line
    assert written(tmp_path, paths, model, chunk_bytes=whole) == line_by_line


def written(tmp_path, paths, model, *, chunk_bytes):
    """The rows by id, the anomalies as they were logged, and their counts."""
    made, log = tmp_path / "results.parquet", tmp_path / "anomalies.jsonl"
    log.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch, AnomalyLog(log) as anomalies:
        patch.setattr(lines_module, "_CHUNK_BYTES", chunk_bytes)
        write_results(BATCH, paths, IDS, AnswerReader(model), made, anomalies=anomalies)
    rows = pq.read_table(made).to_pylist()
    assert sorted(row["custom_id"] for row in rows) == list(IDS)
    logged = log.read_bytes() if log.exists() else b""
    return {row["custom_id"]: row for row in rows}, logged, anomalies.counts
