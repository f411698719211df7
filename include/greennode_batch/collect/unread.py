"""Unread results: a batch has ended, and its files settle almost nothing. Then our parsing is wrong, not the server.

Such a run stops: sending its requests again would cost money and bring no readable answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from greennode_batch.api.results.result_lines import iter_lines
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.collect.results import LinesRead
from greennode_batch.errors import UnreadResultsError
from greennode_batch.staging.folders import ShardFolder, local_copy
from greennode_batch.state.receipts import receipt_path
from greennode_batch.state.stops import Stop, note_stop, unread_path
from greennode_batch.wording import done_again

MIN_READ_RATIO = 0.05
"""The share of a completed batch's requests that lines must settle; below it, the results count as unread."""
_FIRST_READ_RATIO = 0.5
"""The same for a profile that has never read results, and a batch of `_SOME_REQUESTS`: files that lack more than half
may be one page of the results."""
_SOME_REQUESTS = 50
_FEW_REQUESTS = 3
_MANY_ERRORS = 20
_NEARLY_ALL = 0.95
_SAMPLES = 5
_SAMPLE_BYTES = 2_000


class Unread(NamedTuple):
    """What is wrong with results that cannot be read, and which profile fields decide about it."""

    what: str
    fields: str


def unread_results(
    batch: Batch,
    read: LinesRead,
    anomalies: Mapping[str, int],
    *,
    requests: int,
    has_files: bool,
    is_confirmed: bool,
    lacks_file: bool = False,
    min_ratio: float = MIN_READ_RATIO,
) -> Unread | None:
    """Why the results of a batch count as unread; None if they do not.

    anomalies: lines that settle no request, by kind. has_files: whether any result file came. lacks_file: whether one
    that the batch names did not. is_confirmed: whether results were read with the profile before. min_ratio: 0 accepts
    any results.
    """
    # A line or two may be lost by accident; only lines that came and were not understood count against it.
    is_bad_luck = requests <= _FEW_REQUESTS and (is_confirmed or not (read.lines or lacks_file))
    if not min_ratio or is_bad_luck:
        return None
    expected = requests if batch.status is BatchStatus.COMPLETED else min(requests, read.lines)
    is_first = not is_confirmed and expected >= _SOME_REQUESTS
    is_settled = read.settled >= max(1, expected * (max(min_ratio, _FIRST_READ_RATIO) if is_first else min_ratio))
    # Some answers may be readable, and a whole error file not.
    is_worded = read.wordless < max(_MANY_ERRORS, expected * min_ratio) or read.wordless < read.errors * _NEARLY_ALL
    return (
        None if not expected or (is_settled and is_worded) else _cause(read, anomalies, expected, has_files=has_files)
    )


def refuse_unread(
    shard: ShardFolder, batch: Batch, read: LinesRead, cause: Unread, *, requests: int, now: float
) -> None:
    """Raise UnreadResultsError, and record it with the first lines of the files, so that nothing more is sent."""
    path = unread_path(shard)
    words = (
        f"batch {batch.id} ended as {batch.raw_status}, and lines that could be read settle {read.settled:,} of its "
        f"{requests:,} requests: {cause.what}. This is about {cause.fields} in the connection's profile; the first "
        f"lines are in {path}. Nothing is sent again, and all files stay, in staging and at GreenNode. Correct the "
        f"profile and {done_again('collect_results')}: the same files are read, at no cost. If the "
        f'answers are lost, write "lost": "forgotten" into {receipt_path(shard)}: then these requests are '
        "sent, and paid for, again"
    )
    samples = tuple(_first_lines(shard))
    note_stop(path, Stop("unread_results", None, shard.shard_id, shard.attempt, words, samples, now))
    raise UnreadResultsError(words)


def _cause(read: LinesRead, anomalies: Mapping[str, int], expected: int, *, has_files: bool) -> Unread:
    if not has_files:
        return Unread(
            "no result file came, because the batch names none that could be downloaded",
            "batch_fields (which field names the file), content_path or result_style and results_path",
        )
    if not read.lines:
        return Unread("the result files are empty", "content_path or result_style and results_path")
    kinds = {"wordless": read.wordless, **anomalies}
    kind = max(kinds, key=lambda name: kinds[name])
    if read.lines < expected * MIN_READ_RATIO:
        return _NO_LINES
    if not kinds[kind]:
        return Unread(
            "the files have too few lines",
            "content_path or result_style and results_path, and list_style if the results come in pages",
        )
    return _CAUSES.get(kind, _NO_LINES)


_NO_LINES = Unread("the files do not hold lines of results", "content_path or result_style")
_CAUSES = {
    "wordless": Unread(
        "the lines hold neither an answer nor an error where this client expects them",
        "result_fields (which fields hold the answer, the status and the error)",
    ),
    "no_custom_id": Unread(
        "the lines hold no custom_id where this client expects it",
        "result_fields (which field holds the request's id), or content_path if these are not results",
    ),
    "unknown custom_id": Unread(
        "the ids of the lines are not those that were sent",
        "result_fields (which field holds the request's id)",
    ),
}


def _first_lines(shard: ShardFolder) -> Iterator[str]:
    for path in (shard.output, shard.errors):
        if not path.exists():
            continue
        with local_copy(path) as local, local.open("rb") as file:
            for _, line in zip(range(_SAMPLES), iter_lines(file), strict=False):
                yield f"{path.name}: {line[:_SAMPLE_BYTES].decode('utf-8', 'backslashreplace')}"
