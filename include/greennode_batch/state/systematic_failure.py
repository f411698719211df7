"""Systematic failure: so many requests of a run fail that the cause is hardly in the requests themselves."""

LEAST_REQUESTS = 20
"""Fewer requests say nothing about a common cause."""


def fails_systematically(requests: int, answered: int) -> bool:
    """Whether a run of at least 20 requests got no answer to over half of them."""
    return requests >= LEAST_REQUESTS and requests - answered > requests / 2
