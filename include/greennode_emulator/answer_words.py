"""The words that answers are made of, some of them Vietnamese so that text is not all ASCII."""

from itertools import product

from greennode_emulator.dice import Dice

_SUBJECTS = (
    "The request", "This message", "The customer", "The order", "The document", "Our review", "The second part",
    "Khách hàng", "Đơn hàng",
)  # fmt: skip
_VERBS = (
    "asks for", "describes", "confirms", "depends on", "is mostly about", "mentions", "leaves out", "thể hiện",
)  # fmt: skip
_OBJECTS = (
    "a late delivery", "the refund policy", "a change of address", "the monthly report", "an open invoice",
    "two possible causes", "the price list", "a damaged item", "một phản hồi tích cực",
)  # fmt: skip
# Every combination once, so that a sentence costs one choice.
_SENTENCES = tuple(" ".join(parts) + "." for parts in product(_SUBJECTS, _VERBS, _OBJECTS))
_WORDS = (
    "amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "harbor", "indigo", "jasmine", "kiwi", "lotus",
    "mango", "nectar", "olive", "pepper", "quartz", "river", "saffron", "tulip", "umber", "violet", "willow", "zest",
)  # fmt: skip


def sentence(dice: Dice) -> str:
    """One plausible sentence."""
    return dice.pick(_SENTENCES)


def paragraph(dice: Dice) -> str:
    """One to three sentences."""
    return " ".join([sentence(dice) for _ in range(dice.between(1, 3))])


def word(dice: Dice) -> str:
    """One short ASCII word."""
    return dice.pick(_WORDS)


def words(dice: Dice, *, min_chars: int, max_chars: int) -> str:
    """A few words whose total length is within the bounds."""
    text = " ".join([word(dice) for _ in range(dice.between(1, 5))])
    while len(text) < min_chars:
        text += " " + word(dice)
    text = text[:max_chars]
    # A cut may leave a space at the end; a reader that strips it would see a shorter text.
    return text[:-1] + "x" if text.endswith(" ") else text
