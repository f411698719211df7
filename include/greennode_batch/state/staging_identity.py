"""Staging identity: .identity.json, which staging area this is, among those that share an account at the API."""

from __future__ import annotations

import secrets

from upath import UPath

from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import read_json
from greennode_batch.state.document import Document

_IDENTITY = ".identity.json"


class StagingIdentity(Document, frozen=True):
    """.identity.json: a random number, made once, that no other staging area has, whatever its path is."""

    token: str


def staging_token(root: UPath) -> str:
    """The random number of a staging area; the first who asks has it made."""
    path = root / _IDENTITY
    found = read_json(path, StagingIdentity)
    if found is None:
        create_exclusive(path, StagingIdentity(secrets.token_hex(16)))
        found = read_json(path, StagingIdentity)
    assert found is not None, "it is never removed"
    return found.token
