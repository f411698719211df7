import re

import pytest

from greennode_emulator.dice import Dice
from greennode_emulator.patterns import PatternError, matching_text


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{3}-\d{4}$",
        r"^(foo|bar|ba?z)+$",
        r"^\+84\d{9,10}$",
        r"^[^a-z\s]{2,}$",
        r"^(?:[a-f0-9]{2}:){5}[a-f0-9]{2}$",
        r"^v\d+\.\d+\.\d+(-rc\d)?$",
        r"^[\w.-]+@[\w-]+\.com$",
        r"^[]x-]*$",
        r"^a{0}b.\t$",
    ],
)
def test_texts_match_the_pattern_they_were_made_from(pattern):
    texts = {matching_text(pattern, Dice(bytes([seed]))) for seed in range(50)}
    assert texts
    assert [text for text in texts if not re.fullmatch(pattern, text)] == []


@pytest.mark.parametrize(
    "pattern", [r"^(?!x)y$", r"(a", r"a)", r"[a", r"*a", r"a{x}", r"a{3,1}", r"\p{L}", "a\\", "[^ -~]"]
)
def test_patterns_that_are_broken_or_too_clever_are_refused(pattern):
    with pytest.raises(PatternError):
        matching_text(pattern, Dice(b"seed"))
