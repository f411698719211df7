import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.answers.latex_in_json import may_hold_latex, with_latex


class Note(BaseModel):
    text: str
    level: int = 0


def read(said, form="%s"):
    """What is stored of a text that a model wrote between quotes."""
    values = AnswerReader(Note).read(form % f'{{"text": "{said}"}}')
    return None if isinstance(values, str) else values[0]


FORMULAS = [
    r"\frac{1}{2}", r"3 \times 4", r"\beta", r"\rho", r"a \neq b", r"\nabla f", r"\text{cao}", r"\theta_1",
    r"\forall x", r"\alpha + \sqrt{2}", r"\left( x \right)", r"\underline{x}", r"$x \to y$",
    r"$a \ne b$, \pi \tau \{1\}", r"\(x\)", r"\begin{cases} \end{cases}", r"\bar{x} \, \in \, \emptyset",
]  # fmt: skip


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("form", ["%s", "```json\n%s\n```", "So: %s.", '{"answer": %s}'])
def test_a_formula_is_stored_as_it_was_written_whether_its_backslashes_were_doubled_or_not(formula, form):
    assert read(formula, form) == formula
    assert read(formula.replace("\\", "\\\\"), form) == formula


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        (r"one\ntwo\tthree\r\nfour", "one\ntwo\tthree\r\nfour"),
        (r"giá\nu bướu\nem\tan\tto\next", "giá\nu bướu\nem\tan\tto\next"),
        (r"R$ 5\ne R$ 6", "R$ 5\ne R$ 6"),
        (r"page\fPage", "page\fPage"),
        (r"Call\text 5", "Call\text 5"),
        (r"\u00e9 \/ \" \\ \\times \\\\n", 'é / " \\ \\times \\\\n'),
        (r"a\\nabla", r"a\nabla"),
        (r"\\alpha\ne\n\nThe", "\\alpha\ne\n\nThe"),
    ],
)
def test_what_is_no_command_stays_an_escape(said, stored):
    assert read(said) == stored


@pytest.mark.parametrize("said", [r"C:\Users", r"\d+", r"it\'s", r"a\_b"])
def test_what_is_neither_json_nor_latex_is_asked_again(said):
    assert read(said) is None


def test_a_command_between_fields_of_other_types_changes_only_its_own_text():
    assert AnswerReader(Note).read(r'{"level": 3, "text": "\frac12"}') == (r"\frac12", 3)


@given(st.text(st.sampled_from("abfnrtu\\{}$ \n\t\r\b\fé\"'/xe")))
def test_json_that_a_program_wrote_stays_as_it_is_unless_a_control_character_spells_a_command(text):
    written = json.dumps({"text": text})
    assert with_latex(with_latex(written)) == with_latex(written)
    if with_latex(written) == written:
        assert read(written[10:-2]) == text


@pytest.mark.parametrize("unit", ["\\", "\\n", "\\frac", "\\\\", "$x", "$x \\to y$ ", "\\u00"])
def test_any_text_is_gone_through_in_linear_time(unit, assert_linear):
    texts = {size: unit * (size // len(unit)) for size in (6_250, 100_000)}
    assert_linear(lambda size: (may_hold_latex(texts[size]), with_latex(texts[size])), 100_000)
