"""Confirmed profiles: .profiles/<host>-<hash>.json, the profiles whose results were read once, by the API's host."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator

import msgspec
from upath import UPath

from greennode_batch.api.profile import ApiProfile
from greennode_batch.staging.exclusive import create_exclusive
from greennode_batch.staging.folders import RunFolder, ShardFolder, fresh_names, safe_name
from greennode_batch.state.document import Document
from greennode_batch.state.receipts import read_receipt
from greennode_batch.state.row_status import RowStatus

_FOLDER = ".profiles"
# Of those that runs of the version before have left; they are looked through once.
_MOST_SHARDS = 1_000
# What they say changes no reply, or nothing at all.
_NOT_OF_REPLIES = frozenset(
    {"name", "base_url_version", "max_requests", "max_file_bytes", "check_models", "list_trust", "match_by"}
)


class ConfirmedProfile(Document, frozen=True):
    """.profiles/<host>-<hash>.json: with this profile a request was settled by a line of a result file.

    changes: the fields by which it differs from the default profile. confirmed_at: epoch seconds.
    """

    host: str
    changes: dict[str, object]
    confirmed_at: float


def is_confirmed(root: UPath, host: str, profile: ApiProfile) -> bool:
    """Whether a profile's results were read before, by any run of a staging area, or by the probe."""
    return _name(host, profile) in fresh_names(root / _FOLDER)


def was_read_before(root: UPath, host: str, profile: ApiProfile, *, now: float) -> bool:
    """Whether a run may send its whole table at once: results of this host and profile were read before.

    What runs of the version before have collected counts as well, for whichever profile asks first.
    """
    if is_confirmed(root, host, profile):
        return True
    if any(name.startswith(f"{safe_name(host)}-") for name in fresh_names(root / _FOLDER)):
        return False
    if not any(_has_answers(shard, host) for shard in itertools.islice(_shards_in(root), _MOST_SHARDS)):
        return False
    confirm(root, host, profile, now=now)
    return True


def _shards_in(root: UPath) -> Iterator[ShardFolder]:
    """The shards of all runs of a staging area, the latest runs of each DAG first."""
    for dag in sorted(_names_in(root)):
        for run in sorted(_names_in(root / dag), reverse=True):
            folder = RunFolder(root / dag / run)
            yield from (folder.shard(name) for name in _names_in(folder.shards))


def _names_in(folder: UPath) -> list[str]:
    """The names in a folder, but for those of staging's own notes; none in what is a file."""
    try:
        return [name for name in fresh_names(folder) if not name.startswith(".")]
    except NotADirectoryError:
        return []


def _has_answers(shard: ShardFolder, host: str) -> bool:
    receipt = read_receipt(shard)
    return (
        receipt is not None
        and receipt.state == "collected"
        and receipt.lost is None
        and receipt.live is None
        and receipt.server in {"", host}
        and (not receipt.statuses or RowStatus.SUCCEEDED in receipt.statuses)
    )


def confirm(root: UPath, host: str, profile: ApiProfile, *, now: float) -> None:
    """Note that a profile's results can be read."""
    if not is_confirmed(root, host, profile):
        create_exclusive(root / _FOLDER / _name(host, profile), ConfirmedProfile(host, _changes(profile), now))


def _name(host: str, profile: ApiProfile) -> str:
    data = msgspec.json.encode(_changes(profile), order="sorted")
    return f"{safe_name(host)}-{hashlib.blake2b(data, digest_size=8).hexdigest()}.json"


def _changes(profile: ApiProfile) -> dict[str, object]:
    """What differs from the default: so a field that a later version adds makes no other profile of an old one."""
    default, given = dataclasses.asdict(ApiProfile()), dataclasses.asdict(profile)
    return {name: value for name, value in given.items() if name not in _NOT_OF_REPLIES and value != default[name]}
