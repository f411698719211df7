"""Token counts: a cheap, steady function of the text, close enough to a tokenizer to estimate costs."""

from bisect import bisect_right
from typing import Any

TOKENS_PER_MESSAGE = 4
# Pictures and sound are not decoded; each counts the same.
TOKENS_PER_OTHER_PART = 256


def count_tokens(text: str) -> int:
    """A quarter of a token for an ASCII character, more for others: 0.6 for é, 1 for 中, 1.4 for an emoji."""
    chars = len(text)
    extra_bytes = 0 if text.isascii() else len(text.encode("utf-8", "surrogatepass")) - chars
    return (2 * chars + 3 * extra_bytes + 7) // 8


def cut(text: str, max_tokens: int) -> str:
    """The longest beginning of the text with at most so many tokens."""
    if text.isascii():
        return text[: 4 * max_tokens]
    ends = range(len(text) + 1)
    return text[: bisect_right(ends, max_tokens, key=lambda end: count_tokens(text[:end])) - 1]


def count_prompt_tokens(messages: list[dict[str, Any]]) -> int:
    """The tokens of all messages and of their frame."""
    total = 3
    for message in messages:
        total += TOKENS_PER_MESSAGE
        content = message.get("content")
        if isinstance(content, str):
            total += count_tokens(content)
        elif isinstance(content, list):
            for part in content:
                text = part.get("text") if isinstance(part, dict) else None
                total += count_tokens(text) if isinstance(text, str) else TOKENS_PER_OTHER_PART
    return total
