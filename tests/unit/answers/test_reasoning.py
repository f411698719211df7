import pytest
from hypothesis import given, settings
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
        # Nested, repeated, left open, closed twice, or closed by another mark.
        ("<think>why <think>so</think> then</think>what", "why <think>so</think> then", "what"),
        ("<think>\n<think>\nwhy</think>what", "<think>\nwhy", "what"),
        ("<think>it opens by <think> here</think>what", "it opens by <think> here", "what"),
        ("<think>why</think></think>what", "why", "what"),
        ("<think>why</think>\nno, so\n</think>\nwhat", "why\n\nno, so", "what"),
        ("<think>why</thinking>what", "why", "what"),
        ("<think>not [THINK] nor </thinking> ends it</think>what", "not [THINK] nor </thinking> ends it", "what"),
        ("What. <think>\nwhy", "What.\n\nwhy", None),
        ("What. <|channel>thought\nwhy", "What.\n\nwhy", None),
        # A draft is never the answer.
        ('{"a": 1} is a guess, but</think>{"a": 2}', '{"a": 1} is a guess, but', '{"a": 2}'),
        ("<think><answer>draft</answer></think><answer>what</answer>", "<answer>draft</answer>", "what"),
        ("<think>So <answer>draft</answer>", "So <answer>draft</answer>", None),
        # In the answer's JSON, marks are text.
        ('<think>why</think>{"a": "<think>b</think>c"}', "why", '{"a": "<think>b</think>c"}'),
        ('<think>why</think>Here: {"a": "<think>b</think>c"}.', "why", 'Here: {"a": "<think>b</think>c"}.'),
        ('<think>why</think>{"a": "cut <think>b</think>', "why", '{"a": "cut <think>b</think>'),
        # The messages of gpt-oss.
        ("<|channel|>final<|message|>what<|return|>", "", "what"),
        (
            "<|channel|>analysis<|message|>a<|end|><|channel|>commentary<|message|>b<|channel|>final<|message|>[1]",
            "a<|end|><|channel|>commentary<|message|>b",
            "[1]",
        ),
        ("analysisWhy {1}?assistantcommentaryassistantfinalwhat", "Why {1}?assistantcommentary", "what"),
        ("assistantfinal[1]", None, "[1]"),
        ("My analysis of assistantfinal", None, "My analysis of assistantfinal"),
        ("<|START_THINKING|>why<|END_THINKING|><|START_RESPONSE|>what<|END_RESPONSE|>", "why", "what"),
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
        "You [think] of it: ◁ and <|x|> are no marks.",
        "It costs 5 [THINKING of it]",
        '[{"a": 1}, {"note": "a</think>b"}]',
        'So: {"note": "◁think▷ [/THINK] <channel|>"}',
    ],
)
def test_a_tag_that_is_spoken_of_is_part_of_the_answer(text):
    assert split_reasoning(text) == (None, text)


def test_a_tag_that_is_spoken_of_does_not_end_the_thinking():
    assert split_reasoning("<think>It ends at `</think>`.</think>what") == ("It ends at `</think>`.", "what")


MARKS = [
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<Thought>", "</THOUGHT>"),
    ("<reasoning>", "</reasoning>"), ("<seed:think>", "</seed:think>"), ("<mm:think>", "</mm:think>"),
    ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"),
    ("<|channel>thought\n", "<channel|>"), ("<|channel>", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|start|>assistant<|channel|>analysis<|message|>", "<|channel|>final <|constrain|>json<|message|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"), ("<|begin_of_thought|>", "<|end_of_thought|>"),
]  # fmt: skip
# What is no mark, and is not stripped either.
WORDS = st.text("ab .,é\n<>|/[]").filter(lambda text: text.strip() and not text.lstrip().startswith("<"))


@pytest.mark.parametrize(("opening", "closing"), MARKS)
@given(reasoning=WORDS, answer=WORDS, before=st.sampled_from(["", "\n", " "]), times=st.integers(1, 3))
@settings(max_examples=20)
def test_the_marks_of_every_family_are_split_off_though_they_are_repeated(
    opening, closing, reasoning, answer, before, times
):
    text = before + f"{opening}a{reasoning}a{closing}\n" * times + answer
    expected = "\n\n".join([f"a{reasoning}a"] * times)
    assert split_reasoning(text) == (expected, answer.strip())


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_an_opening_mark_may_be_missing_and_a_closing_one_makes_all_of_it_reasoning(opening, closing):
    assert split_reasoning(f"why{closing}what") == ("why", "what")
    assert split_reasoning(f"{opening}why") == ("why", None)
    assert split_reasoning(f"{opening}why{closing}") == ("why", "")


PIECES = ["<think>", "</think>", " <think> ", " </think> ", "<thinking>", "</thinking>", "[THINK]", "[/THINK]", "{"]


@given(st.lists(st.sampled_from([*PIECES, '{"a": "', '"}', "a", " ", "\n", "'"])).map("".join))
def test_the_commonest_marks_are_split_like_those_of_any_other_family(text):
    renamed = text.replace("think>", "thought>")
    reasoning, answer = split_reasoning(renamed)
    expected = tuple(part and part.replace("thought>", "think>") for part in (reasoning, answer))
    if "thinking>" not in text:
        assert split_reasoning(text) == expected


@pytest.mark.parametrize(
    "unit",
    [*PIECES, "<think>a</think>b", "<think>[/THINK]", 'x {"a <think>b</think>', '{"a": 1}<think>', "<", "[", "<answer>",
     "<think> </thinking>", "<|end|>", "<|channel|>", "</think>{", '"</think>"', "analysis", "assistantfinal"],
)  # fmt: skip
def test_any_text_is_split_in_linear_time(unit, assert_linear):
    texts = {size: unit * (size // len(unit)) for size in (6_250, 100_000)}
    assert_linear(lambda size: split_reasoning(texts[size]), 100_000)


@given(st.lists(st.sampled_from(["<think>", "</think>", "</THINKING>", "<answer>", "</answer>", "`", " ", "\n", "a"])))
def test_nothing_that_was_written_is_lost(pieces):
    text = "".join(pieces)
    reasoning, answer = split_reasoning(text)
    if "<answer>" not in pieces:
        assert ((reasoning or "") + (answer or "")).count("a") >= sum(piece == "a" for piece in pieces)
    assert reasoning is not None or answer == text or "<answer>" in pieces
