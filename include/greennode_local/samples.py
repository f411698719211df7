"""The sample jobs: which table each reads and writes, and how its data is loaded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pyarrow.parquet as pq
from psycopg import sql
from psycopg.types.json import Jsonb

from greennode_local.airflow_home import PROJECT
from greennode_local.local_error import LocalError

JOBS_FOLDER = PROJECT / "include" / "jobs"
_BATCH_ROWS = 2000


@dataclass(frozen=True)
class Table:
    """Rows to load: their columns, and the rows in that order."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]


@dataclass(frozen=True)
class Sample:
    """One job to try the pipeline on. `dag_id` is also the name of its folder below `include/jobs`.

    read is None if another sample's job writes the source: `after` is that job, whose run starts this one.
    """

    dag_id: str
    source_table: str
    target_table: str
    key: tuple[str, ...]
    read: Callable[[Path], Table] | None = None
    # The project's own data; None if the caller gives a file.
    data: Path | None = None
    # Columns of the source to show beside the answers.
    shown: tuple[str, ...] = ()
    # Whether the job's rows are those of its query, not one for each row of the table.
    by_query: bool = False
    # Where the query is of a run's data interval: a query without it, of the rows that the first such run has.
    query_of_all: str = ""
    # The logical date of the demo's run, whose interval ends there.
    logical_date: str | None = None
    # How many answers a row has, if several models give one each.
    answers: int = 1
    after: str | None = None
    # The task that makes something of the answers, and reports it: a page's path, a count.
    result_task: str | None = None
    # What else the DAG writes.
    more_tables: tuple[str, ...] = ()

    @property
    def query(self) -> str:
        """The job's query."""
        return self.query_of_all or (JOBS_FOLDER / self.dag_id / "source.sql").read_text(encoding="utf-8")


def read_json_lines(path: Path) -> Table:
    """The rows of a JSON Lines file; every line has the columns of the first."""
    with path.open("rb") as file:
        columns = tuple(msgspec.json.decode(file.readline()))

    def rows() -> Iterator[Sequence[Any]]:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                row: dict[str, Any] = msgspec.json.decode(line)
                if tuple(row) != columns:
                    raise LocalError(f"{path}, line {number}: columns {', '.join(row)}, not {', '.join(columns)}")
                yield tuple(row.values())

    return Table(columns, rows())


def read_parquet(path: Path) -> Table:
    """The rows of a Parquet file. Holds one record batch."""
    file = pq.ParquetFile(path)

    def rows() -> Iterator[Sequence[Any]]:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    return Table(file.schema_arrow.names, rows())


SAMPLES = {
    sample.dag_id: sample
    for sample in (
        Sample(
            dag_id="support_tickets",
            source_table="support_tickets",
            target_table="ticket_labels",
            key=("ticket_id",),
            read=read_json_lines,
            data=JOBS_FOLDER / "support_tickets" / "tickets.jsonl",
            shown=("subject",),
        ),
        Sample(
            dag_id="ticket_replies",
            source_table="support_tickets",
            target_table="ticket_replies",
            key=("ticket_id",),
            read=read_json_lines,
            data=JOBS_FOLDER / "support_tickets" / "tickets.jsonl",
            by_query=True,
            result_task="hand_over",
        ),
        Sample(
            dag_id="daily_tickets",
            source_table="support_tickets",
            target_table="daily_labels",
            key=("ticket_id",),
            read=read_json_lines,
            data=JOBS_FOLDER / "support_tickets" / "tickets.jsonl",
            shown=("subject",),
            by_query=True,
            query_of_all="SELECT * FROM ticket_inbox",
            logical_date="2026-08-02T00:00:00+07:00",
            result_task="notify",
            more_tables=("ticket_inbox",),
        ),
        Sample(
            dag_id="package_sections",
            source_table="packages",
            target_table="package_labels",
            key=("package", "version"),
            read=read_parquet,
        ),
        Sample(
            dag_id="ticket_report",
            source_table="ticket_labels",
            target_table="ticket_reports",
            key=("category",),
            by_query=True,
            after="support_tickets",
            result_task="page",
        ),
        Sample(
            dag_id="model_evaluation",
            source_table="wallet_messages",
            target_table="wallet_answers",
            key=("message_id",),
            read=read_json_lines,
            data=JOBS_FOLDER / "model_evaluation" / "messages.jsonl",
            shown=("body",),
            answers=3,
            result_task="evaluation_report",
            more_tables=("wallet_answers_verdicts",),
        ),
        Sample(
            dag_id="synthetic_data",
            source_table="message_seeds",
            target_table="synthetic_messages",
            key=("seed_id", "variant"),
            read=read_json_lines,
            data=JOBS_FOLDER / "synthetic_data" / "seeds.jsonl",
            shown=("writer",),
            by_query=True,
            more_tables=("synthetic_duplicates",),
            result_task="mark_near_duplicates",
        ),
        Sample(
            dag_id="product_copy",
            source_table="products",
            target_table="product_texts",
            key=("product_id", "channel", "language"),
            read=read_json_lines,
            data=JOBS_FOLDER / "product_copy" / "products.jsonl",
            by_query=True,
        ),
        Sample(
            dag_id="order_records",
            source_table="order_notes",
            target_table="order_records",
            key=("note_id",),
            read=read_json_lines,
            data=JOBS_FOLDER / "order_records" / "notes.jsonl",
            shown=("body",),
        ),
    )
}


def data_of(sample: Sample, given: Path | None) -> Path:
    """The file that the sample is loaded from: the given one, else its own. Raises if there is none."""
    data = given or sample.data
    if data is None:
        raise LocalError(f"job {sample.dag_id} has no sample data: give some with --data FILE.parquet")
    if not data.is_file():
        raise LocalError(f"{data}: no such file")
    return data


def load(connection: psycopg.Connection, sample: Sample, data: Path) -> int:
    """Make and fill the sample's source table again, remove the job's targets; return the number of rows."""
    assert sample.read is not None, "its source is another job's target"
    schema = JOBS_FOLDER / sample.dag_id / "schema.sql"
    if not schema.is_file():
        raise LocalError(f"{schema}: no such file")
    for name in (sample.target_table, *sample.more_tables, sample.source_table):
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
    connection.execute(schema.read_bytes())
    table = sample.read(data)
    columns = _common_columns(connection, sample.source_table, table.columns)
    taken = [list(table.columns).index(name) for name in columns]
    command = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(sample.source_table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    rows = 0
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for row in table.rows:
            copy.write_row([_for_copy(row[index]) for index in taken])
            rows += 1
    connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(sample.source_table)))
    connection.commit()
    return rows


def is_loaded(connection: psycopg.Connection, sample: Sample) -> bool:
    """Whether the sample's source table exists."""
    found = connection.execute("SELECT to_regclass(%s)", [sample.source_table]).fetchone()
    return found is not None and found[0] is not None


def _common_columns(connection: psycopg.Connection, table: str, offered: Sequence[str]) -> list[str]:
    """The columns that both have; a column that the table needs and the data lacks is an error."""
    found = connection.execute(
        "SELECT column_name, is_nullable = 'NO' AND column_default IS NULL FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND table_name = %s ORDER BY ordinal_position",
        [table],
    ).fetchall()
    missing = [name for name, is_needed in found if is_needed and name not in offered]
    if missing or not found:
        raise LocalError(f"the data has no column {', '.join(missing)}, which table {table} needs")
    return [name for name, _ in found if name in offered]


def _for_copy(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict) else value
