"""Systematic failure: a run of which so many requests fail that the reason is hardly in the requests."""

_LEAST_REQUESTS = 20


def fails_systematically(requests: int, answered: int) -> bool:
    """Whether over half of a run's requests, of at least 20, ended without an answer."""
    return requests >= _LEAST_REQUESTS and requests - answered > requests / 2
