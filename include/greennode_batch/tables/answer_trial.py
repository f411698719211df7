"""Answer trial: which answers of a shard a table refuses, found by upserts that are rolled back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from greennode_batch.state.row_status import RowStatus
from greennode_batch.tables.database_errors import Refusal, refusal
from greennode_batch.tables.sql_dialect import Dialect

_SAVED = "greennode_answers"
# Where a table refuses more than half of this many answers, or all of even a few, the table is wrong and not the
# answers.
_ENOUGH, _FEW = 40, 2
_SHOWN_CHARACTERS = 500


def refused_answers(dialect: Dialect, tx: Any, rows: Iterable[pa.Table], answer: Sequence[str]) -> dict[str, str]:
    """Why the table refuses answers, by custom_id; for the column `error` of a row.

    rows: as they would be written. answer: the columns of the answer. Empty if something else than an answer is
    refused, or if the table refuses most of them, or all. Raises the driver's error if the database cannot try.
    """
    trial = _AnswerTrial(dialect, tx, answer)
    try:
        for some in rows:
            trial.search(some.filter(pc.equal(some["status"], RowStatus.SUCCEEDED.value)))
    except _NotTheAnswersError:
        return {}
    return {} if trial.is_all else trial.refused


class _NotTheAnswersError(Exception):
    """Answers are not what the table refuses, or it refuses too many of them."""


class _AnswerTrial:
    def __init__(self, dialect: Dialect, tx: Any, answer: Sequence[str]) -> None:
        self.refused: dict[str, str] = {}
        self._dialect = dialect
        self._tx = tx
        self._types = {column.name: column.type for column in dialect.columns(tx)}
        self._answer = [name for name in answer if name in self._types]
        self._tried = 0
        dialect.check_at_once(tx)

    @property
    def is_all(self) -> bool:
        """Whether no answer of several was accepted."""
        return len(self.refused) == self._tried >= _FEW

    def search(self, rows: pa.Table) -> None:
        """Find the refused answers among these rows."""
        self._tried += rows.num_rows
        for row, refused in self._refused(rows):
            self.refused[row["custom_id"][0].as_py()] = self._reason(row, refused)
            if len(self.refused) > max(_ENOUGH, self._tried) // 2:
                raise _NotTheAnswersError

    def _refused(self, rows: pa.Table) -> Iterator[tuple[pa.Table, Refusal]]:
        """Yield each row that the table refuses, and why."""
        if not rows.num_rows or (refused := self._try(rows)) is None:
            return
        if rows.num_rows == 1:
            yield rows, refused
            return
        half = rows.num_rows // 2
        for part in (rows.slice(0, half), rows.slice(half)):
            yield from self._refused(part)

    def _reason(self, row: pa.Table, refused: Refusal) -> str:
        """Name the column whose value is refused. Raises _NotTheAnswersError for a row that is refused without one."""
        where = f"table {self._dialect.name}"
        for names in (*([name] for name in self._answer), self._answer):
            if self._try(_without(row, names)) is not None:
                continue
            if len(names) == 1:
                (name,) = names
                value = str(row[name][0].as_py())[:_SHOWN_CHARACTERS]
                # The column that was to blame is likely to be so again.
                self._answer.sort(key=lambda one: one != name)
                words = f"{name}: the column {name} of {where} ({self._types[name]}) refuses it"
                return f"{words}: {refused.reason}; the answer was: {value}"
            values = {one: row[one][0].as_py() for one in names}
            return f"answer: {where} refuses it: {refused.reason}; the answer was: {str(values)[:_SHOWN_CHARACTERS]}"
        raise _NotTheAnswersError

    def _try(self, rows: pa.Table) -> Refusal | None:
        """Upsert the rows and undo it; why the table refuses values of them, if it does."""
        dialect, tx = self._dialect, self._tx
        dialect.run(tx, f"SAVEPOINT {_SAVED}")
        try:
            dialect.upsert(tx, [rows])
        except dialect.error as error:
            refused = refusal(error)
            if not refused.is_about_values:
                raise
            return refused
        finally:
            dialect.run(tx, f"ROLLBACK TO SAVEPOINT {_SAVED}")
        return None


def _without(row: pa.Table, names: Sequence[str]) -> pa.Table:
    """The row without these values of its answer."""
    status = pa.array([RowStatus.INVALID_OUTPUT.value])
    made = row.set_column(row.schema.get_field_index("status"), "status", status)
    for name in names:
        index = row.schema.get_field_index(name)
        made = made.set_column(index, made.schema.field(index), pa.nulls(1, made.schema.field(index).type))
    return made
