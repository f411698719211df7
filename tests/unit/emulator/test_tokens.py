import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_emulator.tokens import count_prompt_tokens, count_tokens, cut


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abcd", 1), ("a" * 400, 100), ("中" * 100, 100), ("😀" * 8, 11)]
)
def test_token_counts_follow_the_length_and_the_script(text, tokens):
    assert count_tokens(text) == tokens


@given(st.text(max_size=200), st.integers(1, 60))
def test_a_cut_text_is_the_longest_beginning_that_fits(text, limit):
    kept = cut(text, limit)
    assert text.startswith(kept)
    assert count_tokens(kept) <= limit
    assert kept == text or count_tokens(text[: len(kept) + 1]) > limit


def test_parts_of_a_message_are_counted_each():
    text_only = count_prompt_tokens([{"role": "user", "content": "word " * 20}])
    parts = [{"type": "text", "text": "word " * 20}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert count_prompt_tokens([{"role": "user", "content": parts}]) == text_only + 256
