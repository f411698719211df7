import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.answers.reasoning import split_reasoning


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("plain", None, "plain"),
        ("<think>\nwhy\n</think>\n\n<answer>what</answer>", "why", "what"),
        ("<think>why</think>what", "why", "what"),
        ("why</think>what", "why", "what"),
        ("<think>why", "why", None),
        ("<think>why</think><answer>cut", "why", "cut"),
        ("<answer>what</answer>", None, "what"),
        ("<answer>what</answer> Done.", None, "what"),
        ("<think>why</think>write </think> to close", "why", "write </think> to close"),
        ("<think></think>", "", ""),
        ("<THINK>why</Think><Answer>what</ANSWER>", "why", "what"),
        ("<thinking>why</thinking>what", "why", "what"),
        ("<reasoning>why</reasoning>what", "why", "what"),
        ("<thought>why", "why", None),
        ("<think>one</think>\n<think>two</think>what", "one\n\ntwo", "what"),
        ("<think>one</think>\n<think>two", "one\n\ntwo", None),
        ("Let me see. <think>why</think>what", "why", "Let me see. what"),
        ("one</think>what<think>two</think>", "one\n\ntwo", "what"),
    ],
)
def test_thinking_is_split_off_the_answer(text, reasoning, answer):
    assert split_reasoning(text) == (reasoning, answer)


@pytest.mark.parametrize(
    "text",
    [
        'Close it by `</think>`, or "</think>".',
        "The tag <think> opens it.",
        '{"note": "a</think>b <think>c</think>"}',
        '[{"note": "<think>c</think>"}]',
        "a < b, <b>c</b> > d",
    ],
)
def test_a_tag_that_is_spoken_of_is_part_of_the_answer(text):
    assert split_reasoning(text) == (None, text)


def test_a_tag_that_is_spoken_of_does_not_end_the_thinking():
    assert split_reasoning("<think>It ends at `</think>`.</think>what") == ("It ends at `</think>`.", "what")


@given(st.lists(st.sampled_from(["<think>", "</think>", "</THINKING>", "<answer>", "</answer>", "`", " ", "\n", "a"])))
def test_nothing_that_was_written_is_lost(pieces):
    text = "".join(pieces)
    reasoning, answer = split_reasoning(text)
    if "<answer>" not in pieces:
        assert ((reasoning or "") + (answer or "")).count("a") >= sum(piece == "a" for piece in pieces)
    assert reasoning is not None or answer == text or "<answer>" in pieces
