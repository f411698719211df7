import pytest

from greennode_batch.api.token_limit import is_enqueued_limit, limit_in

OPENAI = (
    "Enqueued token limit reached for gpt-4o-mini in organization org-1. Limit: 2,000,000 enqueued tokens. "
    "Please try again once some in_progress batches have been completed."
)


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        (OPENAI, 2_000_000),
        ("Enqueued token limit reached for gpt-4.1 in organization org-1. Limit: 90,000 enqueued tokens.", 90_000),
        ("Enqueued token limit reached. Please try again once some in-progress batches have been completed.", None),
        ("This batch has 120,000 enqueued tokens, the limit for gpt-4 is 90,000.", 90_000),
        ("exceeds the enqueued token limit of 2000 tokens", 2000),
        ("The batch needs 5000 queued tokens, but at most 1.5 million are allowed", 1_500_000),
        ("Enqueued token quota 90.000 exceeded", 90_000),
        ("Queued tokens would exceed 40k", 40_000),
        ("too many tokens are enqueued for m-1b: (max_enqueued_tokens=2_000)", 2000),
        ("2,000 enqueued tokens limit reached", 2000),
        ("Enqueued token limit reached. Current usage: 500. Limit: 0", None),
        ("Enqueued token limit reached, current usage is 500", None),
        ("Too many tokens are enqueued", None),
    ],
)
def test_a_limit_on_enqueued_tokens_is_read_as_the_server_writes_it(words, limit):
    assert is_enqueued_limit((), words)
    assert limit_in(words) == limit


def test_its_code_is_enough():
    assert is_enqueued_limit(["token_limit_exceeded"], "Try again later.")


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens",
        "Rate limit reached: 60 requests per minute",
        "The queue is full",
        "Invalid batch token",
    ],
)
def test_another_limit_is_none_of_these(words):
    assert not is_enqueued_limit(["rate_limit_exceeded"], words)
