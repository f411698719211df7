import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import greennode_emulator
from greennode_emulator.faults.fault import kind_of
from greennode_emulator.faults.kinds import AnyFault, ScenarioError, read_faults, read_scenario

KINDS = {kind_of(kind.__name__) for kind in get_args(AnyFault)}
README = (Path(greennode_emulator.__file__).parent / "README.md").read_text()
EXAMPLES = re.findall(r'`(\{"kind"[^`]*\})`', README)


def test_the_readme_has_an_example_of_every_kind_that_can_be_armed():
    assert {msgspec.json.decode(example)["kind"] for example in EXAMPLES} == KINDS
    for example in EXAMPLES:
        read_faults(f"[{example}]".encode())


@pytest.mark.parametrize(
    "fault",
    [
        b'{"kind": "nonsense"}',
        b'{"kind": "missing", "rate": 1.5}',
        b'{"kind": "missing", "count": 0}',
        b'{"kind": "stuck", "status": "completed"}',
        b'{"kind": "expired", "fractoin": 0.5}',
        b'{"kind": "status"}',
        b'{"kind": "status", "endpoint": "POST /batches", "shape": "round"}',
        b'{"kind": "too_large"}',
    ],
)
def test_what_does_not_make_sense_is_refused(fault):
    with pytest.raises(msgspec.ValidationError):
        read_faults(b"[" + fault + b"]")


def test_a_scenario_is_a_list_of_faults(tmp_path):
    path = tmp_path / "bad-day.json"
    path.write_text('[{"kind": "missing", "rate": 0.1, "seed": 7}, {"kind": "expired"}]')
    assert [type(fault).__name__ for fault in read_scenario(path)] == ["Missing", "Expired"]


@pytest.mark.parametrize("text", ["", "{}", '[{"kind": "expird"}]'])
def test_a_scenario_that_cannot_be_used_says_so(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=r"bad\.json"):
        read_scenario(path)
    with pytest.raises(ScenarioError, match=r"none\.json"):
        read_scenario(tmp_path / "none.json")
