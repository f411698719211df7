"""Generated rows and answers: the same for the same size, and each answer shows the row it belongs to."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from bench_folder import BenchFolder
from bench_job import run_of
from bench_request import MODEL

from greennode_batch.state.plan import read_plan

_WORDS = (
    "harbor",
    "quartz",
    "saffron",
    "willow",
    "ember",
    "cedar",
    "lotus",
    "mango",
    "olive",
    "pepper",
    "river",
    "tulip",
)
_BATCH_ROWS = 10_000
DIGEST_CHARACTERS = 16
_SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])
_PHRASES = 16**3


def write_rows(folder: BenchFolder, count: int) -> None:
    """Make so many rows of an id and about 450 characters. Holds some thousand."""
    dice = random.Random(count)  # noqa: S311 - not a secret
    phrases = _phrases(dice)
    with pq.ParquetWriter(folder.rows, _SCHEMA, compression="zstd") as writer:
        for start in range(0, count, _BATCH_ROWS):
            ids = range(start, min(start + _BATCH_ROWS, count))
            texts = [f"{index} {' '.join(dice.choices(phrases, k=9))}"[:450] for index in ids]
            writer.write_table(pa.table([pa.array(ids, pa.int64()), pa.array(texts)], schema=_SCHEMA))


def _phrases(dice: random.Random) -> list[str]:
    """Texts of about 50 characters, enough of them that the rows do not compress to nothing."""
    return [" ".join(dice.choices(_WORDS, k=8)) for _ in range(_PHRASES)]


def write_real_rows(folder: BenchFolder, data: str, column: str, count: int | None) -> int:
    """The first rows of a Parquet file, numbered, with the texts of a column; returns how many there are.

    count: how many at most. Rows without a text are left out.
    """
    index = 0
    with pq.ParquetFile(data) as file, pq.ParquetWriter(folder.rows, _SCHEMA, compression="zstd") as writer:
        for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
            texts = batch.column(0).cast(pa.string()).drop_null()
            if count is not None:
                texts = texts.slice(0, count - index)
            ids = pa.array(range(index, index + len(texts)), pa.int64())
            writer.write_table(pa.table([ids, texts], schema=_SCHEMA))
            index += len(texts)
            if index == count:
                break
    return index


def load_table(folder: BenchFolder) -> None:
    """The same rows as a table `bench_rows`."""
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection, pq.ParquetFile(folder.rows) as file:
        connection.execute("DROP TABLE IF EXISTS bench_rows")
        connection.execute("CREATE TABLE bench_rows (id bigint PRIMARY KEY, text text NOT NULL)")
        with connection.cursor().copy("COPY bench_rows FROM STDIN (FORMAT csv)") as copy:
            for batch in file.iter_batches(_BATCH_ROWS):
                out = io.BytesIO()
                pacsv.write_csv(batch, out, pacsv.WriteOptions(include_header=False))
                copy.write(out.getbuffer())


def change_table(_folder: BenchFolder) -> None:
    """Change the text of each hundredth row of `bench_rows`."""
    with psycopg.connect(os.environ["BENCH_DSN"]) as connection:
        connection.execute("UPDATE bench_rows SET text = text || ' (changed)' WHERE id % 100 = 0")


def digest(question: str) -> str:
    """The beginning of the answer to a question."""
    return blake2b(question.encode(), digest_size=DIGEST_CHARACTERS // 2).hexdigest()


def write_engine_results(folder: BenchFolder) -> None:
    """The server's answers to each shard that the engine has built, plain and as JSON."""
    for shard_id, requests in engine_requests(folder):
        _write_results(requests, folder.engine_results(shard_id), _plain_answer)
        _write_results(requests, folder.typed_results(shard_id), _typed_answer)


def engine_requests(folder: BenchFolder) -> Iterator[tuple[str, Path]]:
    """The shards that the engine has built, and their files of requests."""
    plan = read_plan(run_of(folder))
    assert plan is not None, "build comes first"
    for shard in plan.shards:
        yield shard.shard_id, Path(str(run_of(folder).shard(shard.shard_id).requests))


def write_floor_results(folder: BenchFolder) -> None:
    """The server's answers to each file that the floor has built."""
    number = 0
    while (requests := folder.floor_requests(number)).exists():
        _write_results(requests, folder.floor_results(number), _plain_answer)
        requests.unlink()
        number += 1


class _Message(msgspec.Struct):
    content: str


class _Body(msgspec.Struct):
    messages: list[_Message]


class _Request(msgspec.Struct):
    custom_id: str
    body: _Body


def _write_results(requests: Path, results: Path, answer: Callable[[str, Sequence[str]], str]) -> None:
    """A result for each request, in no order. Holds one file. answer: makes one from a digest and phrases."""
    phrases = _phrases(random.Random(0))  # noqa: S311 - not a secret
    lines = [
        _result_line(index, custom_id, answer(digest(question), phrases))
        for index, custom_id, question in requested(requests)
    ]
    random.Random(len(lines)).shuffle(lines)  # noqa: S311 - not a secret
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("wb") as out:
        out.writelines(lines)


def requested(requests: Path) -> Iterator[tuple[int, str, str]]:
    """Index, custom_id and question of each request of a file."""
    decode = msgspec.json.Decoder(_Request).decode
    with requests.open("rb") as lines:
        for index, line in enumerate(lines):
            request = decode(line)
            yield index, request.custom_id, request.body.messages[-1].content


def _plain_answer(own: str, phrases: Sequence[str]) -> str:
    """330 characters, which begin with the digest and are derived from it."""
    words = [phrases[int(own[start : start + 3], 16)] for start in range(DIGEST_CHARACTERS - 3)]
    return " ".join([own, *words])[:330]


def _typed_answer(own: str, phrases: Sequence[str]) -> str:
    """A similar text that fits the answer model."""
    dice = int(own, 16)
    answer = {
        "digest": own,
        "section": ("animals", "food", "places", "plants", "stones")[dice % 5],
        "confidence": dice % 100 / 100,
        "urgent": dice % 2 == 0,
        "keywords": phrases[dice % _PHRASES].split()[:4],
        "summary": " ".join(phrases[int(own[start : start + 3], 16)] for start in range(3)),
    }
    return msgspec.json.encode(answer).decode()


def _result_line(index: int, custom_id: str, answer: str) -> bytes:
    """A result line in OpenAI's shape, about 730 bytes."""
    body = {
        "id": f"chatcmpl-{index}",
        "object": "chat.completion",
        "created": 1_780_000_000 + index % 86_400,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 120, "completion_tokens": 60, "total_tokens": 180},
    }
    response = {"status_code": 200, "request_id": f"req_{index}", "body": body}
    return msgspec.json.encode({"id": f"r{index}", "custom_id": custom_id, "response": response, "error": None}) + b"\n"
