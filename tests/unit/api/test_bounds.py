"""Replies without measure: large, slow or endless. What is given up, what is kept, and what it takes meanwhile."""

import asyncio
import gzip
import io
import itertools
import json
import re
import tracemalloc
import zlib
from pathlib import Path

import httpx
import pytest

from greennode_batch.api import bounds
from greennode_batch.api.client import AsyncGreenNodeClient, GreenNodeClient
from greennode_batch.api.results.result_lines import Anomaly, iter_lines, parse_line
from greennode_batch.errors import AmbiguousError, RejectedError, RetryableError

KEY = "sk-live-0123456789abcdef"
MIB = 1024 * 1024
BATCH = {"id": "batch_1", "status": "in_progress"}


def client_of(handler, **options):
    options = {"transport": httpx.MockTransport(handler), "sleep": lambda _: None} | options
    return GreenNodeClient("https://api.example/v1", KEY, **options)


def bomb(size):
    """Gzip that unpacks to so many zeros."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size // MIB)) + packer.flush()


@pytest.fixture
def peak():
    """The most memory that was taken since the test began, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_a_reply_that_unpacks_without_end_is_given_up_in_little_memory(encoding, peak):
    data = bomb(100 * MIB)
    reply = httpx.Response(200, stream=httpx.ByteStream(data), headers={"content-encoding": encoding})
    with pytest.raises(RetryableError, match=r"larger than the limit of 16 MiB"):
        client_of(lambda _: reply, max_tries=1).get_batch("batch_1")
    assert peak() < 64 * MIB


def test_a_create_whose_reply_is_too_large_says_that_it_may_be_billed():
    large = httpx.Response(200, content=b" " * (bounds.MAX_REPLY_BYTES + 1))
    with pytest.raises(AmbiguousError, match=r"larger than the limit of 16 MiB.*may exist and be billed"):
        client_of(lambda _: large).create_batch("file-1")


def test_an_ordinary_reply_that_is_packed_is_read_by_both_clients():
    def handler(_):
        return httpx.Response(
            200, content=gzip.compress(json.dumps(BATCH).encode()), headers={"content-encoding": "gzip"}
        )

    async def poll():
        transport = httpx.MockTransport(handler)
        async with AsyncGreenNodeClient("https://api.example/v1", KEY, transport=transport) as client:
            return await client.get_batch("batch_1")

    assert client_of(handler).get_batch("batch_1") == asyncio.run(poll())


def test_an_endless_packed_reply_ends_for_the_async_client_as_well(peak):
    data = bomb(100 * MIB)

    async def poll():
        reply = httpx.Response(200, stream=httpx.ByteStream(data), headers={"content-encoding": "gzip"})
        transport = httpx.MockTransport(lambda _: reply)
        async with AsyncGreenNodeClient("https://api.example/v1", KEY, transport=transport) as client:
            await client.get_batch("batch_1", max_tries=1)

    with pytest.raises(RetryableError, match="larger than the limit of 16 MiB"):
        asyncio.run(poll())
    assert peak() < 64 * MIB


@pytest.mark.parametrize("headers", [{}, {"content-encoding": "gzip"}])
def test_a_file_that_unpacks_beyond_what_was_asked_is_given_up_and_nothing_is_left(headers, tmp_path, peak):
    reply = httpx.Response(200, stream=httpx.ByteStream(bomb(100 * MIB)), headers=headers)
    with pytest.raises(RejectedError, match=r"larger than 64 MiB, the limit for its requests\. Nothing is lost"):
        client_of(lambda _: reply).download_file("file-1", tmp_path / "out", max_bytes=bounds.max_file_bytes(1))
    assert list(tmp_path.iterdir()) == []
    assert peak() < 32 * MIB


def test_a_file_that_is_sent_without_end_is_given_up(tmp_path):
    def endless():
        while True:
            yield b'{"custom_id": "1"}\n' * 10_000

    sent = httpx.Response(200, content=endless())
    with pytest.raises(RejectedError, match="larger than 1 MiB"):
        client_of(lambda _: sent).download_file("file-1", tmp_path / "out", max_bytes=MIB)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("parts", [1, 3])
def test_a_packed_file_lands_whole_whatever_the_size_of_its_pieces(parts, tmp_path):
    data = b"".join(b'{"custom_id": "%d"}\n' % n for n in range(200_000))
    packed = b"".join(gzip.compress(data) for _ in range(parts))

    def chunks():
        yield from (packed[start : start + 997] for start in range(0, len(packed), 997))

    client_of(lambda _: httpx.Response(200, content=chunks())).download_file("file-1", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data * parts


@pytest.mark.parametrize("what", ["files", "batches"])
def test_a_list_that_never_ends_is_given_up_with_what_was_not_concluded(what):
    ids = itertools.count()

    def handler(_):
        return httpx.Response(200, json={"data": [{"id": f"x{next(ids)}", "status": "processed"}], "has_more": True})

    client = client_of(handler)
    entries = client.list_files() if what == "files" else client.list_batches()
    with pytest.raises(RejectedError, match=r"goes on after 2,000 pages.*nothing is sent or paid for"):
        for _ in entries:
            pass
    assert next(ids) == bounds.MAX_PAGES


def test_a_list_of_endless_pages_is_given_up_by_its_entries():
    ids = itertools.count()

    def handler(_):
        page = [{"id": f"x{next(ids)}", "status": "processed"} for _ in range(20_000)]
        return httpx.Response(200, json={"data": page, "has_more": True})

    with pytest.raises(RejectedError, match=r"200,000 entries"):
        for _ in client_of(handler).list_files():
            pass


def lines_of(*parts):
    """A file of these bytes, that never has more of them in memory than it is asked for."""
    return io.BufferedReader(_Chain(itertools.chain(*parts)), 1 << 16)


class _Chain(io.RawIOBase):
    def __init__(self, chunks):
        self._chunks = chunks

    def readable(self):
        return True

    def readinto(self, buffer):
        data = next(self._chunks, b"")
        buffer[: len(data)] = data
        return len(data)


ANSWER = (
    b'{"custom_id": "%s", "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "y"}}]}}}\n'
)


@pytest.mark.parametrize("index", ["first", "middle", "last"])
def test_a_line_over_the_bound_costs_neither_memory_nor_the_other_lines(index, peak):
    huge = itertools.chain([b'{"custom_id": "huge", "x": "'], itertools.repeat(b"a" * (1 << 16), 6400))
    before, after = [ANSWER % b"a"], [ANSWER % b"b"]
    ended = itertools.chain(huge, [b"\n"])
    file = {
        "first": lambda: lines_of(ended, before, after),
        "middle": lambda: lines_of(before, ended, after),
        "last": lambda: lines_of(before, after, huge),
    }[index]()
    parsed = [parse_line(line) for line in iter_lines(file)]
    assert [line.custom_id for line in parsed if not isinstance(line, Anomaly)] == ["a", "b"]
    (anomaly,) = (line for line in parsed if isinstance(line, Anomaly))
    assert anomaly.kind == "too_long"
    assert re.search("more than 16 MiB .*may have been paid for, counts as missing", anomaly.text)
    assert peak() < 4 * bounds.MAX_LINE_BYTES


def test_a_long_line_within_the_bound_is_read():
    long = b"a" * (8 * MIB)
    line = ANSWER.replace(b'"y"', b'"%s"' % long) % b"long"
    (parsed,) = (parse_line(line) for line in iter_lines(io.BytesIO(line)))
    assert (parsed.custom_id, len(parsed.content)) == ("long", len(long))


@pytest.mark.parametrize("number", [-1, 2**63 - 1, 2**63, 10**30, 1_000_000_001, 1.5, "-3", "1e400", "2.5", True, "x"])
@pytest.mark.parametrize("style", ["plain", "tolerant"])
def test_a_count_of_tokens_that_no_request_has_is_unknown(number, style):
    usage = {
        "prompt_tokens": number,
        "completion_tokens": number,
        "prompt_tokens_details": {"cached_tokens": number},
        "completion_tokens_details": {"reasoning_tokens": number},
    }
    body = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": usage}
    response = {"status_code": 200, "body": body} if style == "plain" else body
    parsed = parse_line(json.dumps({"custom_id": "c", "response": response}).encode())
    counts = (parsed.prompt_tokens, parsed.completion_tokens, parsed.cached_tokens, parsed.reasoning_tokens)
    assert (parsed.content, counts) == ("yes", (0, 0, 0, 0))


@pytest.mark.parametrize("style", ["plain", "tolerant"])
def test_tokens_that_are_among_others_are_unknown_where_they_are_more(style):
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": "7" if style == "tolerant" else 7,
        "prompt_tokens_details": {"cached_tokens": 11},
        "completion_tokens_details": {"reasoning_tokens": 8},
    }
    body = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}], "usage": usage}
    parsed = parse_line(json.dumps({"custom_id": "c", "response": {"status_code": 200, "body": body}}).encode())
    counts = (parsed.prompt_tokens, parsed.completion_tokens, parsed.cached_tokens, parsed.reasoning_tokens)
    assert counts == (10, 7, 0, 0)


def test_the_page_on_security_has_the_bounds():
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "security.md").read_text()
    for words in (
        bounds.in_mib(bounds.MAX_REPLY_BYTES),
        bounds.in_mib(bounds.max_file_bytes(0)),
        f"{(bounds.max_file_bytes(1) - bounds.max_file_bytes(0)) // 1024} KiB",
        f"{bounds.MIN_BYTES_PER_SECOND // 1024} KiB",
        f"{bounds.MAX_PAGES:,} pages",
        f"{bounds.MAX_ENTRIES:,} entries",
        f"{bounds.MAX_TOKENS:,}",
    ):
        assert words in page, words
