import hashlib

from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.plan.shard_file import ShardFile, ShardLimits


def write(lines, folder, *, max_requests, max_bytes):
    """Cut lines into shards, as the builder does; those that fit no file are left out."""
    orphaned = [line for line in lines if len(line) <= max_bytes]
    shards = []
    while orphaned:
        file = ShardFile(folder / f"{len(shards)}.jsonl", ShardLimits(max_requests, max_bytes))
        some = orphaned[:3]
        while some and (taken := file.take(some)):
            orphaned = orphaned[taken:]
            some = orphaned[:3] if taken == len(some) else []
        file.close()
        shards.append(file)
    return shards


lines_of_bytes = st.lists(st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b" ") + b"\n"))


@given(lines_of_bytes, st.integers(1, 6), st.integers(1, 60))
def test_no_limit_is_broken_and_nothing_is_lost(tmp_path_factory, lines, max_requests, max_bytes):
    folder = tmp_path_factory.mktemp("shards")
    shards = write(lines, folder, max_requests=max_requests, max_bytes=max_bytes)
    contents = [shard.path.read_bytes() for shard in shards]
    assert all(0 < len(content) <= max_bytes for content in contents)
    assert all(0 < content.count(b"\n") <= max_requests for content in contents)
    assert b"".join(contents) == b"".join(line for line in lines if len(line) <= max_bytes)


@given(lines_of_bytes.filter(any))
def test_a_shard_tells_its_hash_its_lines_and_its_bytes(tmp_path_factory, lines):
    (shard,) = write(lines, tmp_path_factory.mktemp("shards"), max_requests=10_000, max_bytes=10_000_000)
    content = shard.path.read_bytes()
    assert shard.shard_id == hashlib.sha256(content).hexdigest()[:32]
    assert (shard.requests, shard.bytes) == (content.count(b"\n"), len(content))


def test_a_shard_is_filled_to_the_last_byte_and_line(tmp_path):
    shards = write([b"aaa\n"] * 4, tmp_path, max_requests=2, max_bytes=8)
    assert [(shard.requests, shard.bytes) for shard in shards] == [(2, 8), (2, 8)]
