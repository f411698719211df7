"""Unchanged rows: those to whose request the target has a good answer. A note tells of most before they are rendered.

What a run leaves as it is, is written down until its end, when the next note is made: answered.json, and the hashes of
these rows in unchanged.bin.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from greennode_batch.incremental.answer_cache import AnsweredNote, note_path, read_note, validity
from greennode_batch.incremental.batch_buffer import HeldRows
from greennode_batch.incremental.row_hashes import RowHashes, hash_rows, with_model
from greennode_batch.incremental.target_rows import EarlierRows
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.columns import SAMPLE
from greennode_batch.request.request_lines import RequestLines
from greennode_batch.source.column_types import table_of
from greennode_batch.source.rows import RowBatch
from greennode_batch.staging.folders import RunFolder, land, write_json
from greennode_batch.staging.spill_file import SpillFile
from greennode_batch.state.left_as_it_is import LeftAsItIs
from greennode_batch.state.plan import LeftRows


class UnchangedRows:
    """Holds a byte for each row of the note; the hashes and keys of rows lie on disk, in `work`.

    known: the target; without one no row is unchanged. columns: of the source. names: all in the prompts. requests:
    what else makes the requests, as JSON can hold it. is_first: whether nothing of this run was sent yet; else no note
    is used, nor made, and neither where rows that left the source are not sought. by_note: whether a note may be used.
    """

    def __init__(
        self,
        job: BatchJob,
        run: RunFolder,
        work: Path,
        known: EarlierRows | None,
        *,
        columns: Sequence[str],
        names: Collection[str],
        requests: Sequence[Any],
        is_first: bool,
        by_note: bool,
    ) -> None:
        self.count = 0
        """Rows times models times samples."""
        self.taken_out = 0
        """Rows that nobody has looked at but the note."""
        self._job = job
        self._asks = job.asks
        self._run = run
        self._inputs = [name for name in columns if name in names]
        self._held = HeldRows(columns, kept=(*job.key_columns, *job.carry))
        self._known = known
        # A query of one interval alone is not worth a look through all that the table ever had. What other tasks have
        # rendered has its prompts, and not what went into them.
        is_whole = job.left_rows != "ignore" and job.partitions == 1
        self._table = known.begin() if known is not None and is_first and is_whole else None
        self._note: AnsweredNote | None = None
        self._valid_for = ""
        if known is not None and self._table is not None:
            # So that a note of a job without samples is what it always was.
            samples = [job.samples] if job.samples > 1 else []
            self._valid_for = validity(known.name, job.target_key, job.models, self._inputs, requests, *samples)
            if by_note:
                path = note_path(run, known.name)
                self._note = read_note(path, work, valid_for=self._valid_for, table=self._table)
        self._keys = SpillFile[list[list[Any]]](work / "unchanged.pickle")
        self._hashes_path = work / "unchanged.bin"
        self._hashes = self._hashes_path.open("wb")

    def others(self, batch: RowBatch) -> Iterator[tuple[RowBatch, RowHashes | None]]:
        """The rows that the note does not tell to be unchanged, some thousand at a time; `held` gives the last of them.

        With their hashes; None if no note is to be made. Raises SeenTwiceError.
        """
        if self._table is None:
            yield batch, None
            return
        hashes = hash_rows(batch, key=self._job.key_columns, inputs=self._inputs)
        if self._note is None:
            yield batch, hashes
            return
        asked = [with_model(hashes, model, sample) for model, sample in self._asks]
        same = np.logical_and.reduce([self._note.unchanged(one) for one in asked])
        for one in asked:
            self._keep(one[same])
        self.taken_out += int(np.count_nonzero(same))
        self._keys.add([list(itertools.compress(batch.values(name), same)) for name in self._job.key_columns])
        if not same.all():
            others = np.flatnonzero(~same)
            yield from self._held.add(batch.take(others.tolist()), hashes[others])

    def held(self) -> Iterator[tuple[RowBatch, RowHashes]]:
        """What `others` has not given yet."""
        return self._held.take()

    def changed(self, requests: RequestLines, rows: pa.Table, hashes: RowHashes | None) -> Sequence[int]:
        """The places of those rows to whose request the target has no good answer.

        rows: with the target's key columns, but for the model.
        """
        if self._known is None:
            return range(rows.num_rows)
        keys = rows.append_column("model", pa.repeat(requests.model, rows.num_rows)).select(self._job.target_key)
        answered = self._known.answered(keys, requests.custom_ids)
        if hashes is None:
            self.count += len(answered)
        else:
            self._keep(hashes[answered])
        there = set(answered)
        return [place for place in range(rows.num_rows) if place not in there]

    @property
    def seeks_left(self) -> bool:
        """Whether rows of the target that the source does not have are sought."""
        return self._known is not None and self._job.left_rows != "ignore"

    def left(self, keys: Iterable[pa.Table]) -> LeftRows:
        """The target's rows that the source does not have, removed if the job says so. Only where they are sought.

        keys: of all rows that were not taken out.
        """
        assert self._known is not None
        by_note = self._left_by_note(self._known)
        if by_note is not None:
            return by_note
        taken_out = (table_of(columns, self._job.key_columns) for columns in self._keys)
        return self._known.left(
            itertools.chain(keys, taken_out), asked=self._asked, remove=self._job.left_rows == "remove"
        )

    def land(self, left: LeftRows | None) -> None:
        """Write down what is left as it is. left: what `left` gave."""
        self._hashes.close()
        if self._known is None or self._table is None:
            return
        land(self._hashes_path, self._run.unchanged)
        # What was removed is in the table no more, and what was not sought is not known.
        still = left if left is not None and not left.removed else None
        others = self._table.without(self._known.replaced)
        note = LeftAsItIs(table=self._known.name, valid_for=self._valid_for, others=others, left=still)
        write_json(self._run.answered, note)

    def _keep(self, hashes: RowHashes) -> None:
        self.count += len(hashes)
        self._hashes.write(hashes.tobytes())

    def _left_by_note(self, known: EarlierRows) -> LeftRows | None:
        """The same as the table would tell, if the note is enough for it."""
        if self._note is None:
            return None
        header, rows, seen = self._note.header, self._note.rows, self._note.seen
        # Of the rows that were looked up, some may be in the table and not in the note.
        if seen < rows or known.found != seen - self.taken_out * len(self._asks):
            return None
        count = header.table.rows - rows
        if not count:
            return LeftRows(0, "", removed=False)
        left = header.left
        if left is None or left.count + left.not_asked != count:
            return None
        return None if left.count and self._job.left_rows == "remove" else left

    @property
    def _asked(self) -> pa.Table | None:
        """What the target's key has beside the source's in the rows of this run; None if it has nothing."""
        names = self._job.target_key[len(self._job.key_columns) :]
        models, samples = zip(*self._asks, strict=True)
        return pa.table({"model": models, SAMPLE: samples}).select(names) if names else None
