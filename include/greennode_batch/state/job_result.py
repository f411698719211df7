"""RunResult: what a run has come to, as all ways to run a job hand it on: counts, cost, where the answers are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import msgspec

from greennode_batch.errors import ConfigError
from greennode_batch.job.targets import FileTarget, SqlTarget, Target
from greennode_batch.state.row_status import RowStatus
from greennode_batch.state.run_report import RunReport


class AnswerTable(msgspec.Struct, frozen=True, tag_field="kind", tag="table"):
    """A table that has answers."""

    conn_id: str
    table: str


class AnswerFiles(msgspec.Struct, frozen=True, tag_field="kind", tag="files"):
    """A folder of Parquet files that has answers, or one such file."""

    path: str
    partition_by: tuple[str, ...] = ()


class RunResult(msgspec.Struct, frozen=True):
    """What a run has come to. It has no rows: it says where they are."""

    report: RunReport
    """The run's counts by status, tokens and cost."""
    targets: tuple[AnswerTable | AnswerFiles, ...]
    """Where the run's rows are, with a dataset's path as it was rendered."""
    key: tuple[str, ...]
    """The columns that identify a row of the source."""
    target_key: tuple[str, ...]
    """The columns that identify a row of a target: `key`, and `model` or `sample` where a row has several answers."""
    job_id: str
    """The value of the column `greennode_job` in the run's rows."""
    folder: str
    """The run's folder in staging, with `report.json`."""
    answer_columns: tuple[str, ...] = ("answer",)
    """The columns of the answer."""
    rows: str | None = None
    """The Parquet file of the rows that a function returned; None where a query or files are the source."""

    @property
    def succeeded(self) -> int:
        """How many of the run's rows have an answer."""
        return self.report.succeeded

    @property
    def failed(self) -> int:
        """How many of the run's rows have no answer."""
        return self.report.rows - self.report.succeeded

    @property
    def cost(self) -> float | None:
        """What the run cost, in the report's currency; None if a price is unknown."""
        return self.report.cost

    @property
    def answered_rows(self) -> str:
        """A condition for SQL on a target: the rows that this run has answered. What an earlier one has is not new."""
        return f"{self._rows} AND status = '{RowStatus.SUCCEEDED.value}'"

    @property
    def failed_rows(self) -> str:
        """A condition for SQL on a target: the rows that this run has left without an answer; `error` says why."""
        return f"{self._rows} AND status <> '{RowStatus.SUCCEEDED.value}'"

    @property
    def _rows(self) -> str:
        return f"run_id = {_text(self.report.run_id)} AND greennode_job = {_text(self.job_id)}"

    def __str__(self) -> str:
        return str(self.report)

    def to_json(self) -> dict[str, Any]:
        """The result as an object of JSON, as XCom keeps it; the conditions for SQL and the counts are part of it."""
        shown = {name: getattr(self, name) for name in _SHOWN}
        # Encoded and decoded: an XCom would write down that a tuple is one.
        made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return {**made, **shown}

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """The result of such an object. Raises ConfigError for anything else."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"this is not the result of a run of a job: {error}") from None


_SHOWN = ("succeeded", "failed", "cost", "answered_rows", "failed_rows")


def answers_in(targets: Iterable[Target]) -> tuple[AnswerTable | AnswerFiles, ...]:
    """Where the rows of a job with these targets are."""
    return tuple(map(_answers_in, targets))


def _answers_in(target: SqlTarget | FileTarget) -> AnswerTable | AnswerFiles:
    if isinstance(target, FileTarget):
        return AnswerFiles(target.path, target.partition_by)
    return AnswerTable(target.conn_id, target.table)


def _text(value: str) -> str:
    """A text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"
