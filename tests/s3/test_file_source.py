"""Sources in object stores: by the engine's own paths, and by Airflow's with a connection."""

import gzip
import json
import os
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs.core
from airflow.sdk import ObjectStoragePath
from upath import UPath

from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError
from greennode_batch.plan.build import build
from greennode_batch.source.files import read_files
from greennode_batch.staging.folders import run_folder

NewFolder = Callable[[], UPath]
# What is fetched is counted in s3fs.
OF_S3 = pytest.mark.parametrize("store", ["moto", "rclone"], indirect=True)


@pytest.fixture(params=["upath", "airflow"])
def new_folder(request: pytest.FixtureRequest, store, bucket: UPath, monkeypatch: pytest.MonkeyPatch) -> NewFolder:
    """The source's folder, as each worker opens it anew."""
    if store.name == "rclone":
        # Beside a part of a file it names the checksum of the whole.
        monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    if request.param == "upath":
        own = UPath(str(bucket), **bucket.storage_options, skip_instance_cache=True)
        return lambda: own / "staging/rows/"
    root = request.getfixturevalue("airflow_root")
    return lambda: ObjectStoragePath(f"{root}/rows/")


@pytest.fixture
def put(bucket, tmp_path):
    """Puts a file into the folder."""

    def make(name, content):
        if isinstance(content, pa.Table):
            pq.write_table(content, tmp_path / "rows.parquet", row_group_size=content.num_rows)
            content = (tmp_path / "rows.parquet").read_bytes()
        (bucket / "staging" / "rows" / name).write_bytes(content)

    return make


@pytest.fixture
def fetched(monkeypatch):
    """The byte ranges that are fetched."""
    ranges = []
    fetch = s3fs.core._fetch_range

    def noted(fs, bucket, key, version_id, start, end, *args, **kwargs):
        ranges.append(end - start)
        return fetch(fs, bucket, key, version_id, start, end, *args, **kwargs)

    monkeypatch.setattr(s3fs.core, "_fetch_range", noted)
    return ranges


def rows_of(source, *columns):
    return [row for batch in source.batches for row in zip(*map(batch.values, columns), strict=True)]


@pytest.mark.parametrize("ending", ["parquet", "csv.gz", "jsonl"])
def test_a_folder_is_read_file_by_file(new_folder, put, ending):
    def content(numbers):
        if ending == "parquet":
            return pa.table({"id": numbers, "text": [f"text {number}" for number in numbers]})
        if ending == "jsonl":
            return "".join(json.dumps({"id": n, "text": f"text {n}"}) + "\n" for n in numbers).encode()
        return gzip.compress(b"id,text\n" + b"".join(b"%d,text %d\n" % (n, n) for n in numbers))

    put(f"day=2026-01-02/b.{ending}", content([3]))
    put(f"day=2026-01-02/a.{ending}", content([2]))
    put(f"day=2026-01-01/c.{ending}", content([0, 1]))
    put("_SUCCESS", b"")
    source = read_files(new_folder(), types={"id": "integer"}, columns={"id", "text", "day"})
    assert source.columns == ("id", "text", "day")
    assert rows_of(source, "id", "text", "day") == [
        (0, "text 0", "2026-01-01"),
        (1, "text 1", "2026-01-01"),
        (2, "text 2", "2026-01-02"),
        (3, "text 3", "2026-01-02"),
    ]
    one = read_files(new_folder() / f"day=2026-01-02/b.{ending}", columns={"text"})
    assert rows_of(one, "text") == [("text 3",)]


@OF_S3
def test_only_the_needed_columns_of_parquet_are_fetched_and_never_a_whole_file(new_folder, put, fetched):
    rows = 3_000
    noise = [os.urandom(500).hex() for _ in range(2 * rows)]
    table = pa.table({"id": range(rows), "text": noise[:rows], "unused": noise[rows:], "more": noise[:rows]})
    put("rows.parquet", table)
    size = sum(map(len, noise)) * 3 // 2
    assert len(rows_of(read_files(new_folder(), columns={"id"}), "id")) == rows
    assert 0 < sum(fetched) < size / 20
    fetched.clear()
    assert rows_of(read_files(new_folder(), columns={"id", "text"}), "id", "text") == list(
        zip(range(rows), noise[:rows], strict=True)
    )
    assert sum(fetched) < size / 2
    assert max(fetched) <= 5 << 20


@OF_S3
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_text_file_is_fetched_once_in_parts(new_folder, put, fetched, ending):
    texts = [os.urandom(1_000).hex() for _ in range(10_000)]
    if ending == "csv":
        content = "id,text\n" + "".join(f"{index},{text}\n" for index, text in enumerate(texts))
    else:
        content = "".join(json.dumps({"id": str(index), "text": text}) + "\n" for index, text in enumerate(texts))
    put(f"rows.{ending}", content.encode())
    source = read_files(new_folder(), columns={"id", "text"})
    fetched.clear()
    assert rows_of(source, "id", "text") == [(str(index), text) for index, text in enumerate(texts)]
    assert len(content) <= sum(fetched) < 1.2 * len(content)
    assert len(fetched) < 8
    assert max(fetched) <= 9 << 20


def test_what_is_not_there_is_named(new_folder, put):
    with pytest.raises(ConfigError, match=r"rows.*no such file or folder"):
        read_files(new_folder())
    put("rows.csv", b"id\n1\n")
    with pytest.raises(ConfigError, match=r"gone\.parquet: no such file or folder"):
        read_files(new_folder() / "gone.parquet")
    source = read_files(new_folder())
    (folder := new_folder()).fs.rm_file(f"{folder.path.rstrip('/')}/rows.csv")
    with pytest.raises(ConfigError, match=r"rows\.csv: no such file"):
        rows_of(source, "id")


def test_a_run_is_built_from_files_in_a_bucket(new_folder, put, job, tmp_path):
    put("rows.jsonl", b'{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}\n{"id": 3, "text": "one"}\n')
    plan = build(
        job, lambda: read_files(new_folder()), run_folder(tmp_path, "job", "run"), run_id="1", profile=ApiProfile()
    )
    assert (plan.rows, plan.requests) == (3, 2)
