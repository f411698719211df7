"""What a run has left in the warehouse: counted, checked against the source, and shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from greennode_batch.job.columns import OWNER_COLUMNS, RESULT_COLUMNS
from greennode_local.local_error import LocalError
from greennode_local.samples import Sample


@dataclass(frozen=True)
class Outcome:
    """A run in numbers. `rows_in`: rows that belong in the target; `missing`: source rows that it lacks."""

    rows_in: int
    rows_out: int
    missing: int
    by_status: Mapping[str, int]
    prompt_tokens: int
    completion_tokens: int

    @property
    def succeeded(self) -> int:
        """Rows with an answer."""
        return self.by_status.get("succeeded", 0)

    def check(self) -> None:
        """Raise unless every source row is in the target, and nothing else is."""
        if self.rows_in == 0:
            raise LocalError("the source table is empty")
        if self.missing or self.rows_in != self.rows_out:
            raise LocalError(
                f"{self.rows_in} rows in, {self.rows_out} rows out, {self.missing} of the source missing in the target"
            )
        if self.succeeded == 0:
            raise LocalError(f"no row has an answer; by status: {dict(self.by_status)}")


def read_outcome(connection: psycopg.Connection, sample: Sample) -> Outcome:
    """Count the rows of the sample's source and target."""
    names = _names(sample)
    by_status: dict[str, int] = dict(
        connection.execute(
            sql.SQL("SELECT status, count(*) FROM {target} GROUP BY 1 ORDER BY 2 DESC, 1").format(**names)
        ).fetchall()
    )
    # Rows that share a request have the same answer, which was paid once.
    tokens = (
        "SELECT coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) "
        "FROM (SELECT DISTINCT custom_id, prompt_tokens, completion_tokens FROM {target}) AS paid"
    )
    prompt_tokens, completion_tokens = _row(connection, sql.SQL(tokens).format(**names))
    missing = "SELECT count(*) FROM {source} s WHERE NOT EXISTS (SELECT 1 FROM {target} t WHERE {same_key})"
    return Outcome(
        rows_in=sample.answers * _row(connection, sql.SQL("SELECT count(*) FROM {source} s").format(**names))[0],
        rows_out=sum(by_status.values()),
        missing=_row(connection, sql.SQL(missing).format(**names))[0],
        by_status=by_status,
        prompt_tokens=int(prompt_tokens),
        completion_tokens=int(completion_tokens),
    )


def first_rows(connection: psycopg.Connection, sample: Sample, *, limit: int) -> tuple[list[str], list[Sequence[Any]]]:
    """The first joined rows: the key, the source columns to show, the answer and the status."""
    columns = [column.name for column in _columns(connection, sample)]
    asked = ("model",) if sample.answers > 1 else ()
    answers = [name for name in columns if name not in {*sample.key, *sample.shown, *RESULT_COLUMNS, *OWNER_COLUMNS}]
    taken = [
        *(sql.Identifier("t", name) for name in sample.key),
        *(sql.Identifier("s", name) for name in sample.shown),
        *(sql.Identifier("t", name) for name in (*asked, *answers, "status")),
    ]
    query = sql.SQL(
        "SELECT {taken} FROM {source} s JOIN {target} t ON {same_key} ORDER BY {order} LIMIT {limit}"
    ).format(
        taken=sql.SQL(", ").join(taken),
        order=sql.SQL(", ").join(sql.Identifier("t", name) for name in (*sample.key, *asked)),
        limit=limit,
        **_names(sample),
    )
    rows: list[Sequence[Any]] = [*connection.execute(query).fetchall()]
    return [*sample.key, *sample.shown, *asked, *answers, "status"], rows


def _columns(connection: psycopg.Connection, sample: Sample) -> Sequence[psycopg.Column]:
    query = sql.SQL("SELECT * FROM {target} LIMIT 0").format(**_names(sample))
    return connection.execute(query).description or ()


def _row(connection: psycopg.Connection, query: sql.Composed) -> Sequence[Any]:
    row = connection.execute(query).fetchone()
    assert row is not None, "an aggregate has one row"
    return row


def _names(sample: Sample) -> dict[str, sql.Composable]:
    pairs = [sql.SQL("{} = {}").format(sql.Identifier("s", name), sql.Identifier("t", name)) for name in sample.key]
    return {
        "source": sql.SQL(f"({sample.query})") if sample.by_query else sql.Identifier(sample.source_table),
        "target": sql.Identifier(sample.target_table),
        "same_key": sql.SQL(" AND ").join(pairs),
    }
