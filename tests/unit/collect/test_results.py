import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.collect.anomalies import AnomalyLog
from greennode_batch.collect.results import write_results

TERMINAL = sorted((status for status in BatchStatus if status.is_terminal), key=str)


class Label(BaseModel):
    label: str
    n: int = 0


def batch(status=BatchStatus.COMPLETED, errors=()):
    return Batch(id="batch_1", status=status, raw_status=status.value, errors=errors, completed_at=1_700_000_000.0)


def answered(custom_id, content, *, finish_reason="stop", created=1_700_000_100, **message):
    body = {
        "choices": [{"message": {"content": content, **message}, "finish_reason": finish_reason}],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        "created": created,
    }
    return json.dumps({"custom_id": custom_id, "response": {"status_code": 200, "body": body}}).encode()


def failed(custom_id, *, status=500, code="server_error", message="broke"):
    body = {"error": {"message": message, "code": code}}
    return json.dumps({"custom_id": custom_id, "response": {"status_code": status, "body": body}}).encode()


def settled(tmp_path, lines, requested, *, of=None, answer=None):
    """The rows of results.parquet by id, and the anomalies."""
    output, made = tmp_path / "output.jsonl", tmp_path / "results.parquet"
    output.write_bytes(b"".join(line + b"\n" for line in lines))
    with AnomalyLog(tmp_path / "anomalies.jsonl") as anomalies:
        write_results(of or batch(), [output], requested, AnswerReader(answer), made, anomalies=anomalies)
    rows = pq.read_table(made).to_pylist()
    assert len({row["custom_id"] for row in rows}) == len(rows)
    return {row["custom_id"]: row for row in rows}, anomalies.counts


@pytest.mark.parametrize(
    ("line", "status", "error"),
    [
        (answered("x", '{"label": "a"}'), "succeeded", None),
        (answered("x", '{"label": 5}'), "invalid_output", "label: Input should be a valid string"),
        (answered("x", ""), "invalid_output", "Invalid JSON"),
        (answered("x", None), "invalid_output", "Invalid JSON"),
        (answered("x", '{"label": "a'), "invalid_output", "Invalid JSON"),
        (answered("x", '{"label": "a', finish_reason="length"), "truncated", "cut off at max_tokens"),
        (answered("x", "<think>hm", finish_reason="length"), "truncated", "raise max_tokens"),
        (answered("x", "<think>hm"), "invalid_output", "before it finished its reasoning"),
        (answered("x", None, refusal="I will not"), "refused", "I will not"),
        (answered("x", '{"label": "a"}', finish_reason="abort"), "failed", "the server stopped before"),
        (answered("x", "", finish_reason="content_filter"), "refused", "the content filter stopped the answer"),
        (failed("x", status=429, code="rate_limit"), "failed", "429 rate_limit broke"),
        (failed("x", code="batch_expired"), "expired", "batch_expired"),
        (failed("x", code="batch_cancelled"), "cancelled", "batch_cancelled"),
        (b'{"custom_id": "x", "response": null, "error": {"message": "boom", "code": "c"}}', "failed", "c boom"),
    ],
)
def test_a_line_has_the_status_that_it_deserves(tmp_path, line, status, error):
    rows, _ = settled(tmp_path, [line], ["x"], answer=Label)
    assert rows["x"]["status"] == status
    assert rows["x"]["error"] is None if error is None else error in rows["x"]["error"]


@pytest.mark.parametrize(
    ("of", "status", "error"),
    [
        (batch(), "missing", "the batch ended as completed, and neither file has this request"),
        (batch(BatchStatus.EXPIRED), "expired", "the batch expired before"),
        (batch(BatchStatus.CANCELLED), "cancelled", "the batch was cancelled before"),
        (batch(BatchStatus.FAILED, ("no such model",)), "failed", "the batch failed: no such model"),
        (batch(BatchStatus.FAILED), "missing", "the batch ended as failed"),
    ],
)
def test_a_request_without_a_line_has_the_status_of_its_batch(tmp_path, of, status, error):
    rows, _ = settled(tmp_path, [answered("y", "hi")], ["x", "y"], of=of)
    assert rows["x"]["status"] == status
    assert error in rows["x"]["error"]
    assert rows["y"]["status"] == "succeeded"


def test_an_answer_comes_with_its_thinking_its_tokens_and_its_time(tmp_path):
    rows, _ = settled(tmp_path, [answered("x", "<think>why</think>\n<answer>what</answer>")], ["x"])
    assert rows["x"] == {
        "custom_id": "x",
        "status": "succeeded",
        "error": None,
        "finish_reason": "stop",
        "reasoning": "why",
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "cached_tokens": 2,
        "reasoning_tokens": 1,
        "completed_at": datetime.datetime.fromtimestamp(1_700_000_100, datetime.UTC),
        "batch_id": "batch_1",
        "ask_again": False,
        "raw_answer": None,
        "answer": "what",
    }


@pytest.mark.parametrize(
    ("content", "raw"),
    [
        ('{"label": "a"}', None),
        (f"<think>why</think>{'x' * 5_000}", f"<think>why</think>{'x' * 5_000}"),
        ("<think>why", "<think>why"),
        ("", ""),
    ],
)
def test_an_answer_that_does_not_fit_is_kept_whole(tmp_path, content, raw):
    rows, _ = settled(tmp_path, [answered("x", content)], ["x"], answer=Label)
    assert rows["x"]["raw_answer"] == raw
    assert len(rows["x"]["error"] or "") < 1_000


def test_an_unknown_end_is_logged_once_with_its_count_and_its_answers_are_kept(tmp_path, caplog):
    lines = [answered(name, "text", finish_reason="paused" if name in "abc" else "END_TURN") for name in "abcd"]
    rows, _ = settled(tmp_path, lines, "abcd")
    assert {name: (row["status"], row["finish_reason"]) for name, row in rows.items()} == {
        **dict.fromkeys("abc", ("succeeded", "paused")),
        "d": ("succeeded", "END_TURN"),
    }
    (words,) = [record.getMessage() for record in caplog.records if "finish_reason" in record.getMessage()]
    assert "3 answers end with finish_reason 'paused'" in words


def called(*arguments, content=None, finish_reason="tool_calls"):
    calls = [{"type": "function", "function": {"name": "label", "arguments": one}} for one in arguments]
    return answered("x", content, finish_reason=finish_reason, tool_calls=calls)


@pytest.mark.parametrize("finish_reason", ["tool_calls", "stop"])
@pytest.mark.parametrize("content", [None, "", " \n", "<think>hm</think>"])
def test_calls_of_tools_are_the_answer(tmp_path, finish_reason, content):
    line = called('{"label": "a", "p": 1.50}', content=content, finish_reason=finish_reason)
    rows, _ = settled(tmp_path, [line], ["x"])
    assert (rows["x"]["status"], rows["x"]["finish_reason"]) == ("succeeded", finish_reason)
    assert rows["x"]["answer"] == '[{"name":"label","arguments":{"label": "a", "p": 1.50}}]'
    rows, _ = settled(tmp_path, [line], ["x"], answer=Label)
    assert (rows["x"]["status"], rows["x"]["label"]) == ("succeeded", "a")
    assert rows["x"]["reasoning"] == ("hm" if content and "think" in content else None)


def test_of_several_calls_the_last_one_fills_the_columns(tmp_path):
    rows, _ = settled(tmp_path, [called('{"label": "a"}', {"label": "b"})], ["x"], answer=Label)
    assert rows["x"]["label"] == "b"


def test_a_text_beside_calls_is_the_answer_unless_the_model_ended_to_call(tmp_path):
    for answer, expected in ((None, "text"), (Label, None)):
        rows, _ = settled(
            tmp_path, [called('{"label": "a"}', content="text", finish_reason="stop")], ["x"], answer=answer
        )
        assert rows["x"].get("answer") == expected
    rows, _ = settled(tmp_path, [called('{"label": "a"}', content="I look it up")], ["x"])
    assert rows["x"]["answer"] == '[{"name":"label","arguments":{"label": "a"}}]'


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("", '[{"name":"label","arguments":{}}]'),
        ("oops", '[{"name":"label","arguments":"oops"}]'),
        ('{"label": ', '[{"name":"label","arguments":"{\\"label\\": "}]'),
    ],
)
def test_arguments_that_are_no_json_are_a_text(tmp_path, arguments, answer):
    rows, _ = settled(tmp_path, [called(arguments)], ["x"])
    assert rows["x"]["answer"] == answer
    rows, _ = settled(tmp_path, [called(arguments)], ["x"], answer=Label)
    assert (rows["x"]["status"], rows["x"]["raw_answer"]) == ("invalid_output", arguments or "{}")


def test_calls_that_were_cut_off_are_truncated(tmp_path):
    rows, _ = settled(tmp_path, [called('{"label": ', finish_reason="length")], ["x"], answer=Label)
    assert rows["x"]["status"] == "truncated"


def test_a_structured_answer_cut_at_its_end_keeps_its_values(tmp_path):
    rows, _ = settled(tmp_path, [answered("x", '{"label": "a"}', finish_reason="length")], ["x"], answer=Label)
    assert (rows["x"]["status"], rows["x"]["label"]) == ("truncated", "a")


@pytest.mark.parametrize(
    "line",
    [
        answered("x", "hi", created=10**17),
        answered("x", "hi", created=-5),
        answered("x", "hi").replace(b'"prompt_tokens": 3', b'"prompt_tokens": 9223372036854775808'),
    ],
)
def test_a_number_that_no_column_holds_does_not_cost_the_answer(tmp_path, line):
    rows, _ = settled(tmp_path, [line], ["x"])
    assert (rows["x"]["status"], rows["x"]["answer"]) == ("succeeded", "hi")


def test_a_number_too_large_for_its_column_is_an_invalid_answer(tmp_path):
    rows, _ = settled(tmp_path, [answered("x", '{"label": "a", "n": 1' + "0" * 30 + "}")], ["x"], answer=Label)
    assert rows["x"]["status"] == "invalid_output"
    assert rows["x"]["error"].startswith("n: the number is too large for a column")


line_of_any_kind = st.one_of(
    st.builds(answered, st.sampled_from("abcdxyz"), st.sampled_from(["yes", "", "<think>", "no\u2028"])),
    st.builds(answered, st.sampled_from("abcdxyz"), st.just("cut"), finish_reason=st.just("length")),
    st.builds(failed, st.sampled_from("abcdxyz"), code=st.sampled_from(["e", "batch_expired"])),
    st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")),
    st.sampled_from([b"", b"null", b"[]", b'{"error": {"message": "all is lost"}}', b'{"custom_id": "a"']),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(line_of_any_kind, max_size=20),
    requested=st.sets(st.sampled_from("abcd")),
    status=st.sampled_from(TERMINAL),
)
def test_whatever_the_files_hold_each_request_has_one_row_and_an_answer_beats_a_failure(
    tmp_path, lines, requested, status
):
    rows, anomalies = settled(tmp_path, lines, iter(requested), of=batch(status))
    assert set(rows) == requested
    said = [json.loads(line) for line in lines if line.startswith(b'{"custom_id"') and b'"response"' in line]
    for custom_id, row in rows.items():
        mine = [one["response"]["body"] for one in said if one["custom_id"] == custom_id]
        choices = [body["choices"][0] for body in mine if "choices" in body]
        usable = [
            c["message"]["content"] for c in choices if c["finish_reason"] == "stop" and "o" in c["message"]["content"]
        ]
        usable += [c["message"]["content"] for c in choices if c["message"]["content"] == "yes"]
        if usable:
            assert row["status"] == "succeeded"
            assert row["answer"] in usable
        elif choices:
            assert row["status"] in {"truncated", "invalid_output"}
        elif mine:
            assert row["status"] in {"failed", "expired"}
        else:
            assert row["status"] in {"missing", "expired", "cancelled"}
    assert anomalies["unknown custom_id"] == sum(one["custom_id"] not in requested for one in said)


def test_rows_of_many_groups_are_all_written(tmp_path):
    ids = [f"id{n}" for n in range(12_000)]
    lines = [failed(ids[0]), *(answered(one, one) for one in ids), answered(ids[-1], "twice")]
    rows, anomalies = settled(tmp_path, lines, ids)
    others = [row["answer"] for row in rows.values() if row["answer"] != row["custom_id"]]
    assert others == ["twice"], "the last good answer counts"
    assert len(rows) == 12_000
    assert anomalies == {"second line for a custom_id": 2}
    assert pq.read_schema(tmp_path / "results.parquet").field("completed_at").type == pa.timestamp("us", tz="UTC")
