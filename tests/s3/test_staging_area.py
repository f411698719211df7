import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import msgspec
import pytest
from botocore.exceptions import FlexibleChecksumError
from upath import UPath

from greennode_batch.staging.folders import (
    ShardFolder,
    fresh_names,
    land,
    local_copy,
    read_json,
    remove_tree,
    write_json,
)
from greennode_batch.state.receipts import Claim, NumberedClaim, Receipt, is_sent, latest_claim, read_receipt

# What s3fs keeps, and what its checksums do.
OF_S3 = pytest.mark.parametrize("store", ["moto", "rclone"], indirect=True)
MULTIPART_BYTES = 101 * 2**20

# Another worker's process: it writes what it is told, and says when it is done.
WRITER = """
import json, sys
import s3fs
from upath import UPath
for line in sys.stdin:
    path, options, text = json.loads(line)
    UPath(path, **options).write_text(text)
    print("written", flush=True)
"""


class Note(msgspec.Struct):
    text: str


Write = Callable[[UPath, object], None]


@pytest.fixture(scope="module")
def writer() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def write_elsewhere(store, writer) -> Write:
    """Writes a JSON file from another process."""

    def write(path: UPath, value: object) -> None:
        command = [str(path), store.options, msgspec.json.encode(value).decode()]
        print(json.dumps(command), file=writer.stdin, flush=True)
        assert writer.stdout.readline() == "written\n"

    return write


@pytest.fixture
def folder(bucket):
    """A folder by a file system of its own: in the one that a process shares nothing is kept any more."""
    own = UPath(str(bucket), **bucket.storage_options, skip_instance_cache=True)
    assert own.fs.dircache.use_listings_cache
    return own / "run" / "shards" / "shard"


def test_what_another_process_wrote_after_a_listing_is_seen(write_elsewhere, folder):
    shard = ShardFolder(folder)
    write_json(shard.requests, {})
    assert [path.name for path in shard.path.iterdir()] == ["requests.jsonl"]
    assert not shard.results.exists()
    assert latest_claim(shard) is None
    assert not is_sent(shard)
    claim = Claim(token="other", file_id="file-1", claimed_at=1.0)
    receipt = Receipt(shard_id="shard", state="uploaded", file_id="file-1")
    write_elsewhere(shard.claim(1), claim)
    write_elsewhere(shard.receipt, receipt)
    write_elsewhere(shard.results, {})
    assert shard.results.exists()
    assert msgspec.structs.replace(read_receipt(shard), by_hand="") == receipt
    assert latest_claim(shard) == NumberedClaim(1, claim)
    assert {path.name for path in shard.path.iterdir()} > {"results.parquet", "creating.1.json"}
    assert is_sent(shard)


@OF_S3
def test_a_listing_that_was_kept_before_the_shard_was_opened_is_forgotten(write_elsewhere, folder):
    (folder / "requests.jsonl").write_text("")
    assert [path.name for path in folder.iterdir()] == ["requests.jsonl"]
    write_elsewhere(folder / "results.parquet", {})
    assert not (folder / "results.parquet").exists(), "s3fs asks the store now; is `uncached` still needed?"
    assert ShardFolder(folder).results.exists()


def test_the_names_in_a_folder_are_those_of_now(write_elsewhere, folder):
    assert fresh_names(folder) == []
    write_elsewhere(folder / "a.json", {})
    assert fresh_names(folder) == ["a.json"]
    write_elsewhere(folder / "b.json", {})
    assert sorted(fresh_names(folder)) == ["a.json", "b.json"]


def test_a_missing_file_is_none_and_a_missing_folder_is_empty(bucket):
    assert read_json(bucket / "note.json", Note) is None
    assert latest_claim(ShardFolder(bucket / "nowhere")) is None
    with pytest.raises(FileNotFoundError):
        (bucket / "note.json").read_bytes()
    with pytest.raises(FileNotFoundError), local_copy(bucket / "note.json"):
        pass


def test_readers_see_the_old_json_or_the_new_one_never_a_part(bucket):
    path = ShardFolder(bucket / "shard").receipt
    sizes = [1, 100_000] * 10
    write_json(path, Note("y"))

    def read(_):
        return len(read_json(UPath(str(path), **path.storage_options), Note).text)

    with ThreadPoolExecutor(2) as pool:
        seen = pool.map(read, range(20))
        for size in sizes:
            write_json(path, Note("y" * size))
        assert set(seen) <= {1, 100_000}


@OF_S3
@pytest.mark.parametrize(("odd", "is_read"), [(4, True), (5, False)])
def test_a_file_that_comes_with_the_checksum_of_another_is_read_again(bucket, monkeypatch, odd, is_read):
    path = ShardFolder(bucket / "shard").receipt
    write_json(path, Note("y"))
    cat_file, mismatches = path.fs.cat_file, [FlexibleChecksumError(error_msg="odd")] * odd

    def cat(*args, **kwargs):
        if mismatches:
            raise mismatches.pop()
        return cat_file(*args, **kwargs)

    monkeypatch.setattr(path.fs, "cat_file", cat)
    with nullcontext() if is_read else pytest.raises(FlexibleChecksumError):
        assert read_json(path, Note) == Note("y")


def test_a_file_in_parts_lands_whole_and_is_copied_back(rclone, make_bucket, tmp_path):
    made, path = tmp_path / "requests.jsonl", make_bucket(rclone) / "shard" / "requests.jsonl"
    block = os.urandom(2**20)
    with made.open("wb") as file:
        for _ in range(MULTIPART_BYTES // len(block)):
            file.write(block)
    land(made, path)
    assert not made.exists()
    with local_copy(path) as copy, copy.open("rb") as file:
        assert copy.stat().st_size == MULTIPART_BYTES
        assert all(piece == block for piece in iter(lambda: file.read(len(block)), b""))
    assert not copy.exists()
    assert fresh_names(path.parent) == ["requests.jsonl"]


def test_an_empty_file_lands(bucket, tmp_path):
    (tmp_path / "made").touch()
    land(tmp_path / "made", bucket / "file")
    with local_copy(bucket / "file") as copy:
        assert copy.read_bytes() == b""


def test_a_folder_is_removed_with_all_below_it_and_nothing_beside_it(bucket):
    for name in ("run/plan.json", "run/shards/a/receipt.json", "run 2/plan.json"):
        write_json(bucket / name, {})
    remove_tree(bucket / "run")
    remove_tree(bucket / "run")
    assert not (bucket / "run").exists()
    assert (bucket / "run 2" / "plan.json").exists()
