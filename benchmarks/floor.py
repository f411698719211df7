"""The floor: a script that produces the same bytes with the fastest libraries, and does nothing else.

It has no ids but the rows' own, no limits but the number of lines, no receipts, no state, no checks: with one odd
line, one failed request or one restart, rows are lost or paid twice.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from bench_folder import BenchFolder
from bench_request import BATCH_ID, MODEL, PARAMS, QUESTION, RUN_ID
from stopwatch import Stopwatch

_READ_ROWS = 5_000
_FILE_ROWS = 50_000
_encode = msgspec.json.Encoder().encode


def build_from_file(folder: BenchFolder, watch: Stopwatch) -> None:
    """Rows of the Parquet file become files of requests."""
    with watch("build"), pq.ParquetFile(folder.rows) as file:
        batches = file.iter_batches(_READ_ROWS, columns=["id", "text"])
        _write_requests(folder, ((batch[0].to_pylist(), batch[1].to_pylist()) for batch in batches))


def build_from_table(folder: BenchFolder, watch: Stopwatch) -> None:
    """Rows of a table become files of requests."""
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection, watch("build"):
        cursor = connection.cursor(name="floor")
        cursor.execute("SELECT id, text FROM bench_rows")
        fetched = iter(lambda: cursor.fetchmany(_READ_ROWS), [])
        _write_requests(folder, (tuple(zip(*rows, strict=True)) for rows in fetched))


def _write_requests(folder: BenchFolder, batches: Iterator[tuple[list[int], list[str]]]) -> None:
    """The bytes that the engine writes, except the ids' values: the constant part is encoded once."""
    body = _encode({"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], **PARAMS})
    before, after = body.split(_encode(QUESTION)[1:-1] + b'"')
    before = b'","method":"POST","url":"/v1/chat/completions","body":' + before + _encode(QUESTION)[1:-1]
    after = b'"' + after + b"}\n"
    folder.floor_requests(0).parent.mkdir(parents=True, exist_ok=True)
    written = 0
    out = folder.floor_requests(0).open("wb")
    for ids, texts in batches:
        if written and written % _FILE_ROWS == 0:
            out.close()
            out = folder.floor_requests(written // _FILE_ROWS).open("wb")
        out.write(
            b"".join(
                [
                    b'{"custom_id":"%032x%b%b%b' % (key, before, _encode(text)[1:-1], after)
                    for key, text in zip(ids, texts, strict=True)
                ]
            )
        )
        written += len(ids)
    out.close()


class _Message(msgspec.Struct, gc=False):
    content: str


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int


class _Body(msgspec.Struct, gc=False):
    created: int
    choices: list[_Choice]
    usage: _Usage


class _Response(msgspec.Struct, gc=False):
    body: _Body


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    response: _Response


_SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("answer", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("finish_reason", pa.string()),
        ("reasoning", pa.string()),
        ("model", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("custom_id", pa.string()),
        ("batch_id", pa.string()),
        ("run_id", pa.string()),
        ("completed_at", pa.timestamp("us", tz="UTC")),
    ]
)


def write_to_files(folder: BenchFolder, watch: Stopwatch) -> None:
    """Rows are joined to their results, and written as Parquet files."""
    folder.floor_answers.mkdir(parents=True, exist_ok=True)
    for number, answers in enumerate(_answers(folder, watch)):
        with watch("write"):
            pq.write_table(answers, folder.floor_answers / f"{number}.parquet", compression="zstd")


def write_to_table(folder: BenchFolder, watch: Stopwatch) -> None:
    """Rows are joined to their results, and copied into a table."""
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection, connection.cursor() as cursor:
        columns = ", ".join(f"{field.name} {_SQL_TYPES[field.type]}" for field in _SCHEMA)
        cursor.execute(f"CREATE TABLE bench_floor ({columns}, PRIMARY KEY (id))")
        for answers in _answers(folder, watch):
            with watch("write"):
                out = io.BytesIO()
                pacsv.write_csv(answers, out, pacsv.WriteOptions(include_header=False))
                with cursor.copy("COPY bench_floor FROM STDIN (FORMAT csv)") as copy:
                    copy.write(out.getbuffer())


_SQL_TYPES = {pa.int64(): "bigint", pa.string(): "text", pa.timestamp("us", tz="UTC"): "timestamptz"}


def _answers(folder: BenchFolder, watch: Stopwatch) -> Iterator[pa.Table]:
    """The rows of each file in turn with their answers, in the columns that the engine writes."""
    with pq.ParquetFile(folder.rows) as file:
        for number, batch in enumerate(file.iter_batches(_FILE_ROWS, columns=["id"])):
            with watch("collect and join"):
                answers = _joined(folder, number, batch[0])
            yield answers


def _joined(folder: BenchFolder, number: int, ids: pa.Array) -> pa.Table:
    lines = msgspec.json.Decoder(_Line).decode_lines(folder.floor_results(number).read_bytes())
    by_id = {line.custom_id: line.response.body for line in lines}
    custom_ids = [f"{key:032x}" for key in ids.to_pylist()]
    bodies = [by_id[custom_id] for custom_id in custom_ids]
    count = len(bodies)
    choices = [body.choices[0] for body in bodies]
    columns = {
        "id": ids,
        "answer": [choice.message.content for choice in choices],
        "status": pa.repeat("succeeded", count),
        "error": pa.nulls(count, pa.string()),
        "finish_reason": [choice.finish_reason for choice in choices],
        "reasoning": pa.nulls(count, pa.string()),
        "model": pa.repeat(MODEL, count),
        "prompt_tokens": [body.usage.prompt_tokens for body in bodies],
        "completion_tokens": [body.usage.completion_tokens for body in bodies],
        "custom_id": custom_ids,
        "batch_id": pa.repeat(BATCH_ID, count),
        "run_id": pa.repeat(RUN_ID, count),
        "completed_at": pa.array([body.created for body in bodies], pa.int64()).cast(pa.timestamp("s", tz="UTC")),
    }
    return pa.table(columns).cast(_SCHEMA)
