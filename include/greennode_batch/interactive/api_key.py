"""API key: who runs a job on this machine gives it by the environment."""

from __future__ import annotations

import os

from greennode_batch.errors import ConfigError

KEY_VARIABLE = "GREENNODE_API_KEY"


def api_key() -> str:
    """The key, from the environment. Raises ConfigError if it is not set."""
    key = os.environ.get(KEY_VARIABLE, "")
    if not key:
        raise ConfigError(f"the environment variable {KEY_VARIABLE} is not set; it holds the API key. Nothing was sent")
    return key
