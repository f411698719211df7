import json
from collections import Counter

import pytest

from greennode_emulator.answers import answer_for

ROWS = 60
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": NUMBER}}


@pytest.fixture
def content(body, jsonl):
    return jsonl({f"r{row}": body(str(row)) for row in range(ROWS)})


class Outcome:
    """What one struck batch left behind."""

    def __init__(self, caller, content, *faults):
        caller.server.faults(faults)
        self.batch = caller.run(content)
        self.raw = [self._content(caller, self.batch[name]) for name in ("output_file_id", "error_file_id")]
        self.output, self.errors = ([self._load(line) for line in raw.split(b"\n") if line] for raw in self.raw)
        self.billed = caller.server.ledger()["requests"]

    @staticmethod
    def _content(caller, file_id):
        return caller.http.get(f"/files/{file_id}/content").content if file_id else b""

    @staticmethod
    def _load(line):
        try:
            # As text: given bytes, json.loads would see through UTF-16.
            return json.loads(line.decode())
        except ValueError:
            return None

    def ids(self, lines):
        return Counter(line["custom_id"] for line in lines if line)


ALL = {f"r{row}" for row in range(ROWS)}
THREE = {"count": 3}


def contents(lines):
    return {line["custom_id"]: line["response"]["body"]["choices"][0] for line in lines if line}


def test_a_missing_line_is_in_neither_file_and_billed(caller, content):
    outcome = Outcome(caller, content, {"kind": "missing", **THREE})
    assert len(outcome.output) == ROWS - 3
    assert outcome.errors == []
    assert outcome.billed == dict.fromkeys(ALL, 1)
    assert outcome.batch["request_counts"] == {"total": ROWS, "completed": ROWS, "failed": 0}


@pytest.mark.parametrize(
    ("order", "failed"), [("same", [False, False]), ("failure_first", [True, False]), ("success_first", [False, True])]
)
def test_a_line_can_be_there_twice_and_is_billed_once(caller, content, order, failed):
    outcome = Outcome(caller, content, {"kind": "duplicate", "order": order, **THREE})
    twice = [name for name, count in outcome.ids(outcome.output).items() if count == 2]
    assert len(twice) == 3
    assert set(outcome.ids(outcome.output)) == ALL
    for name in twice:
        assert [line["response"] is None for line in outcome.output if line["custom_id"] == name] == failed
    assert outcome.billed == dict.fromkeys(ALL, 1)


@pytest.mark.parametrize("instead", [False, True])
def test_a_line_can_have_an_id_that_nobody_sent(caller, content, instead):
    outcome = Outcome(caller, content, {"kind": "unknown_id", "instead": instead, **THREE})
    ids = set(outcome.ids(outcome.output))
    strangers = ids - ALL
    assert len(strangers) == 3
    assert len(ids & ALL) == (ROWS - 3 if instead else ROWS)
    assert outcome.billed == dict.fromkeys(ALL, 1)


@pytest.mark.parametrize("kind", ["not_json", "utf16_line"])
def test_a_garbled_line_is_billed(caller, content, kind):
    outcome = Outcome(caller, content, {"kind": kind, **THREE})
    assert outcome.output.count(None) >= 3
    assert len(outcome.ids(outcome.output)) == ROWS - 3
    assert outcome.billed == dict.fromkeys(ALL, 1)


def test_separators_stand_raw_in_the_line_and_in_text_answers(caller, content, body, jsonl):
    outcome = Outcome(caller, content + jsonl({"json": body(response_format=SCHEMA)}), {"kind": "separators"})
    assert len(outcome.output) == ROWS + 1
    for raw, line in zip(outcome.raw[0].split(b"\n"), outcome.output, strict=False):
        assert len(raw.decode().splitlines()) > 3
        answer = line["response"]["body"]["choices"][0]["message"]["content"]
        if line["custom_id"] == "json":
            assert isinstance(json.loads(answer)["n"], int)
        else:
            assert answer.endswith("\u2028\u2029\u0085end")


@pytest.mark.parametrize(
    ("kind", "content_is", "reason"),
    [
        ("wrong_schema", lambda text, _: json.loads(text) == {"emulator_fault": ["wrong_schema"]}, "stop"),
        ("empty_answer", lambda text, _: text == "", "stop"),
        ("cut_off", lambda text, whole: text == whole[: len(whole) // 2] != "", "length"),
        ("content_filter", lambda text, _: text is None, "content_filter"),
    ],
)
def test_a_bad_answer_is_billed(caller, content, body, kind, content_is, reason):
    outcome = Outcome(caller, content, {"kind": kind, **THREE})
    odd = {}
    for name, choice in contents(outcome.output).items():
        whole = answer_for(body(name.removeprefix("r"))).content
        if choice["message"]["content"] != whole:
            odd[name] = content_is(choice["message"]["content"], whole) and choice["finish_reason"] == reason
    assert list(odd.values()) == [True] * 3
    assert outcome.billed == dict.fromkeys(ALL, 1)


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limit_exceeded"), (500, "oops"), (400, None)])
def test_a_refused_line_stands_in_the_error_file_and_is_not_billed(caller, content, status, code):
    outcome = Outcome(caller, content, {"kind": "line_error", "status": status, "code": code, **THREE})
    assert len(outcome.output) == ROWS - 3
    assert [line["response"]["status_code"] for line in outcome.errors] == [status] * 3
    assert [line["response"]["body"]["error"]["code"] for line in outcome.errors] == [code] * 3
    assert outcome.billed == dict.fromkeys(outcome.ids(outcome.output), 1)
    assert outcome.batch["request_counts"] == {"total": ROWS, "completed": ROWS - 3, "failed": 3}


@pytest.mark.parametrize(("error", "type_"), [("object", dict), ("text", str)])
def test_a_response_can_be_null(caller, content, error, type_):
    outcome = Outcome(caller, content, {"kind": "null_response", "error": error, **THREE})
    assert [(line["response"], type(line["error"])) for line in outcome.errors] == [(None, type_)] * 3
    assert outcome.billed == dict.fromkeys(outcome.ids(outcome.output), 1)


def test_status_zero_counts_as_completed_and_is_not_billed(caller, content):
    outcome = Outcome(caller, content, {"kind": "status_zero", **THREE})
    assert [line["response"]["status_code"] for line in outcome.errors] == [0, 0, 0]
    assert outcome.batch["request_counts"] == {"total": ROWS, "completed": ROWS, "failed": 0}
    assert len(outcome.billed) == ROWS - 3


def test_the_same_lines_are_struck_for_the_same_seed_and_file(caller, content):
    def struck(seed):
        caller.server.reset()
        outcome = Outcome(caller, content, {"kind": "missing", "rate": 0.3, "seed": seed})
        return ALL - set(outcome.ids(outcome.output))

    first = struck(1)
    assert 6 < len(first) < 32
    assert struck(1) == first
    assert struck(2) != first


def test_another_file_is_another_draw_so_that_a_second_attempt_may_do_better(caller, content, body, jsonl):
    fault = {"kind": "missing", "rate": 0.3, "seed": 1}
    outcome = Outcome(caller, content, fault)
    lost = ALL - set(outcome.ids(outcome.output))
    again = caller.run(jsonl({name: body(name.removeprefix("r")) for name in sorted(lost)}))
    assert lost & {line["custom_id"] for line in caller.lines(again["output_file_id"])}


def test_only_so_many_batches_are_struck(caller, content):
    caller.server.faults([{"kind": "missing", "count": 1, "batches": 2}])
    kept = [len(caller.lines(caller.run(content)["output_file_id"])) for _ in range(3)]
    assert kept == [ROWS - 1, ROWS - 1, ROWS]
    assert caller.server.armed() == []


def test_a_line_meets_one_fault_at_most(caller, content):
    outcome = Outcome(caller, content, {"kind": "missing", "rate": 0.5}, {"kind": "line_error", "rate": 0.5})
    assert len(outcome.billed) + len(outcome.errors) == ROWS
    assert not set(outcome.billed) & set(outcome.ids(outcome.errors))
