"""Staging identity: .identity.json distinguishes the staging areas that share an account at the API."""

from __future__ import annotations

import secrets

from upath import UPath

from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import read_json
from greennode_batch.state.document import Document

_IDENTITY = ".identity.json"


class StagingIdentity(Document, frozen=True):
    """.identity.json: a random number that identifies a staging area, independent of its path. It is made once."""

    token: str


def staging_token(root: UPath) -> str:
    """The random number of a staging area. The first call makes it."""
    path = root / _IDENTITY
    found = read_json(path, StagingIdentity)
    if found is None:
        create_exclusive(path, StagingIdentity(secrets.token_hex(16)))
        found = read_json(path, StagingIdentity)
    assert found is not None, "it is never removed"
    return found.token
