"""Models: whether the server knows what a job asks, found out before anything is paid."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.errors import ConfigError, NotFoundError, RejectedError

log = logging.getLogger(__name__)

_SHOWN_MODELS = 10


def check_models(client: GreenNodeClient, models: Iterable[str]) -> None:
    """Raise ConfigError for a model that is not on the server's list; an API without a list passes."""
    try:
        listed = [model.id for model in client.list_models()]
    except (NotFoundError, RejectedError) as error:
        log.info("The server does not list its models (%s); they are not checked", error)
        return
    for name in models:
        if listed and name not in listed:
            by_lower = {known.lower(): known for known in listed}
            near = difflib.get_close_matches(name.lower(), by_lower, n=1)
            hint = f"did you mean {by_lower[near[0]]!r}?" if near else f"it has {', '.join(listed[:_SHOWN_MODELS])}."
            raise ConfigError(f"model {name!r} is not on the server's list: {hint} Nothing was sent")
