import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from greennode_batch.errors import ConfigError
from greennode_batch.source.formats.file_listing import source_files


def names(path, *said):
    return [file.name for file in source_files(path, *said)]


PARTS = st.lists(st.text("ab._=-1", min_size=1, max_size=4).filter(lambda one: one.strip(".")), min_size=1, max_size=3)


@given(st.lists(PARTS, min_size=1, max_size=8))
def test_a_folder_names_each_file_that_is_not_hidden_once_by_name_in_any_store(tmp_path_factory, paths):
    local = tmp_path_factory.mktemp("rows")
    stored = UPath(f"memory://listing/{local.name}")
    shown = set()
    for parts in paths:
        name = "/".join([*parts, "x.csv"])
        for root in (local, stored):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"id\n1\n")
        if not any(part.startswith((".", "_")) for part in parts):
            shown.add(name)
    for root in (local, stored):
        if shown:
            assert names(root) == sorted(shown)
        else:
            with pytest.raises(ConfigError, match="there is no file in this folder"):
                names(root)


@pytest.mark.parametrize(
    ("name", "partitions"),
    [
        ("day=2026-01-31/tenant=a%2Fb/x.csv", {"day": "2026-01-31", "tenant": "a/b"}),
        ("day=__HIVE_DEFAULT_PARTITION__/x.csv", {"day": None}),
        ("day=/x.csv", {"day": ""}),
        ("=1/day/x=1.csv", {}),
        ("a=1/plain/b=c=d/x.csv", {"a": "1", "b": "c=d"}),
    ],
)
def test_folders_with_a_columns_name_and_value_are_partitions(write, tmp_path, name, partitions):
    write(f"in/{name}", "id\n1\n")
    (file,) = source_files(tmp_path / "in")
    assert file.partitions == partitions
    assert list(file.partitions) == list(partitions)


@pytest.mark.parametrize(
    ("name", "found"),
    [("a.csv", "csv"), ("A.TSV.GZ", "tsv"), ("a.ndjson", "jsonl"), ("a.jsonl.gz", "jsonl"), ("a.parquet", "parquet")],
)
def test_a_name_tells_the_format(write, name, found):
    (file,) = source_files(write(name, b""))
    assert (file.format, file.name) == (found, "")


def test_a_format_that_is_said_holds_for_names_that_do_not_tell_one(write, tmp_path):
    for name in ("a.csv", "b.jsonl", "part-0", "rows.txt"):
        write(f"in/{name}", "{}")
    assert names(tmp_path / "in", "jsonl") == ["b.jsonl", "part-0", "rows.txt"]
    assert [file.format for file in source_files(write("part-1", "{}"), "jsonl")] == ["jsonl"]


SKIPPED = [
    "README.md", "readme", "LICENSE.txt", "manifest.json", "part-0.manifest.json", "_SUCCESS", ".part-0.crc",
    "part-0.crc", "v1.metadata.json", "schema.json", "rows_$folder$", "Thumbs.db", ".DS_Store", "_tmp/part-1.parquet",
    "chart.PNG", "part-2.parquet.tmp", "load.sql", "~$rows.xlsx", "checksums.md5",
]  # fmt: skip


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("is_said", [True, False])
def test_markers_documents_and_hidden_files_are_skipped_and_counted_in_the_log(
    write, tmp_path, caplog, ending, is_said
):
    caplog.set_level("INFO")
    rows = [f"README.{ending}", f"manifest.{ending}", f"part-0.{ending}"]
    for name in [*SKIPPED, *rows]:
        write(f"in/{name}", "x")
    stored = UPath(f"memory://skipped/{tmp_path.name}")
    for path in (tmp_path / "in").rglob("*"):
        if path.is_file():
            (stored / path.relative_to(tmp_path / "in").as_posix()).write_bytes(b"x")
    for root in (tmp_path / "in", stored):
        caplog.clear()
        assert names(root, *([ending] if is_said else [])) == rows
        assert f"skipped {len(SKIPPED)} files that no rows are read from: .DS_Store" in caplog.text


def test_what_is_no_parquet_beside_parquet_is_skipped(write, tmp_path):
    for name in ("a.parquet", "notes.txt", "rows.xlsx", "old.orc", "sum.json"):
        write(f"in/{name}", "x")
    assert names(tmp_path / "in") == names(tmp_path / "in", "parquet") == ["a.parquet"]
    write("in/part-0", "x")
    with pytest.raises(ConfigError, match=r"part-0: its name does not tell its format.*move it out of the folder"):
        names(tmp_path / "in")
    write("other/a.dat", "x")
    assert names(tmp_path / "other", "parquet") == ["a.dat"]


def test_a_folder_says_what_it_cannot_be_read_for(write, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty: there is no file in this folder"):
        names(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"gone: no such file or folder"):
        names(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"gone: no such file or folder"):
        names(UPath("memory://listing/gone"))
    write("in/a.csv", "id\n1\n")
    with pytest.raises(ConfigError, match=r"there is no jsonl file in this folder"):
        names(tmp_path / "in", "jsonl")
    write("in/b.jsonl", '{"id": 2}')
    with pytest.raises(
        ConfigError, match=r"holds files of two formats, .*a\.csv and .*b\.jsonl; choose one of them with format="
    ):
        names(tmp_path / "in")
    (tmp_path / "in/b.jsonl").unlink()
    write("in/notes.txt", "hello")
    with pytest.raises(ConfigError, match=r"notes\.txt: its name does not tell its format; set format='parquet'"):
        names(tmp_path / "in")


@pytest.mark.parametrize("root", ["local", "stored"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_bytes_of_a_file_are_unpacked_wherever_it_lies(tmp_path, root, packed):
    folder: Path | UPath = tmp_path if root == "local" else UPath("memory://listing/bytes")
    path = folder / ("rows.csv.gz" if packed else "rows.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(b"id\n1\n") if packed else b"id\n1\n")
    (file,) = source_files(path)
    with file.stream() as opened:
        assert opened.read() == b"id\n1\n"


# Named, for gzip writes the time into what it makes, and each worker of the tests would have names of its own.
@pytest.mark.parametrize(
    "content",
    [b"id\n1\n", gzip.compress(b"id\n1\n" * 1_000)[:-10], gzip.compress(b"id\n1\n")[:12]],
    ids=["none", "without its end", "its head"],
)
def test_a_damaged_gzip_file_is_named(write, content):
    (file,) = source_files(write("rows.csv.gz", content))
    with pytest.raises(ConfigError, match=r"rows\.csv\.gz: is damaged, or not a gzip file"), file.stream() as opened:
        opened.read()


def test_a_file_that_has_gone_meanwhile_is_named_and_a_lost_connection_stays_what_it_is(write):
    path = write("rows.csv", "id\n1\n")
    (file,) = source_files(path)
    with pytest.raises(ConnectionResetError), file.stream():
        raise ConnectionResetError(104, "reset by peer")
    path.unlink()
    with pytest.raises(ConfigError, match=r"rows\.csv: no such file\. Nothing was sent"), file.stream():
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(write):
    path = write("rows.csv", "id\n1\n")
    path.chmod(0)
    (file,) = source_files(path)
    with pytest.raises(ConfigError, match=r"rows\.csv: permission to read it is denied"), file.stream():
        pass
