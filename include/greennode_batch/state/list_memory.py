"""List memory: .lists/, what this staging area has seen of a server's list of batches: whether it can be believed."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec
from upath import UPath

from greennode_batch.api.profile import ApiProfile
from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import ShardFolder, fresh_names, safe_name
from greennode_batch.state.document import Document

_FOLDER = ".lists"
Fact = Literal["created", "shown", "changes_ids"]


class ListFact(Document, frozen=True):
    """.lists/<host>-<hash>.<fact>.json: one thing that is known of a server's list, for good.

    fact: `created`: a batch was created there, so the list is not to be empty. `shown`: it has shown a batch.
    `changes_ids`: it showed one of ours with another input file than ours, and without our metadata.
    """

    host: str
    fact: Fact
    noted_at: float


class ListMemory:
    """What is known of the list of one server, as one profile asks for it. It outlives runs."""

    def __init__(self, shard: ShardFolder, host: str, profile: ApiProfile) -> None:
        # A shard that is in no run has no staging area, and nothing is remembered.
        is_in_run = shard.run.plan.exists()
        self._folder: UPath | None = shard.run.path.parent.parent / _FOLDER if is_in_run else None
        self._host = host
        self._name = f"{safe_name(host)}-{_hash_of(profile)}"
        self._facts: set[Fact] = set()
        self._is_read = False

    def knows(self, fact: Fact) -> bool:
        """Whether it is known; what others note is seen as long as nothing was asked for."""
        if not self._is_read and self._folder is not None:
            names = fresh_names(self._folder)
            facts: tuple[Fact, ...] = ("created", "shown", "changes_ids")
            self._facts.update(fact for fact in facts if f"{self._name}.{fact}.json" in names)
            self._is_read = True
        return fact in self._facts

    def note(self, fact: Fact, *, now: float) -> None:
        """Remember it."""
        if not self.knows(fact) and self._folder is not None:
            create_exclusive(self._folder / f"{self._name}.{fact}.json", ListFact(self._host, fact, now))
        self._facts.add(fact)


def _hash_of(profile: ApiProfile) -> str:
    how = (
        profile.batches_path,
        profile.list_style,
        profile.page_parameter,
        profile.size_parameter,
        profile.first_page,
        sorted(profile.extra_headers.items()),
    )
    return hashlib.blake2b(msgspec.json.encode(how), digest_size=6).hexdigest()
