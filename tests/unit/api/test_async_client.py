import asyncio
import json

import httpx
import pytest

from greennode_batch.api.client import AsyncGreenNodeClient
from greennode_batch.api.wire import BatchStatus
from greennode_batch.errors import NotFoundError, RetryableError

BATCH = {"id": "batch_1", "status": "RUNNING", "input_file_id": "file-1"}


class Slept(list):
    async def __call__(self, seconds):
        self.append(seconds)


def client_of(handler, slept=None):
    return AsyncGreenNodeClient(
        "https://api.example/v1",
        "sk-1",
        transport=httpx.MockTransport(handler),
        sleep=slept if slept is not None else Slept(),
    )


def in_turn(*answers):
    left = list(answers)

    def handler(request):
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    return handler


@pytest.mark.parametrize(
    "bad", [httpx.Response(502, text="<title>Bad</title>"), httpx.ReadTimeout("late"), httpx.ConnectError("no")]
)
async def test_a_poll_goes_through_a_bad_moment(bad):
    slept = Slept()
    async with client_of(in_turn(bad, BATCH), slept) as client:
        assert (await client.get_batch("batch_1")).status is BatchStatus.IN_PROGRESS
    assert len(slept) == 1


async def test_a_poll_that_never_succeeds_ends():
    with pytest.raises(RetryableError):
        await client_of(in_turn(httpx.ReadTimeout("late"))).get_batch("batch_1")


async def test_a_missing_batch_is_not_asked_for_again():
    slept = Slept()
    with pytest.raises(NotFoundError):
        await client_of(in_turn(httpx.Response(404)), slept).get_batch("batch_1")
    assert slept == []


async def test_batches_are_listed_page_by_page():
    pages = in_turn({"data": [BATCH], "has_more": True}, {"data": [BATCH | {"id": "batch_2"}], "has_more": False})
    async with client_of(pages) as client:
        assert [batch.id async for batch in client.list_batches(limit=1)] == ["batch_1", "batch_2"]


@pytest.mark.parametrize(
    ("answer", "status"), [(BATCH | {"status": "CANCELLING"}, BatchStatus.CANCELLING), (httpx.Response(409), None)]
)
async def test_a_cancel_tells_how_the_batch_stands(answer, status):
    batch = await client_of(in_turn(answer)).cancel_batch("batch_1")
    assert (None if batch is None else batch.status) is status


async def test_a_reply_that_trickles_is_given_up_at_the_deadline():
    class Trickle(httpx.AsyncByteStream):
        async def __aiter__(self):
            while True:
                yield b" "
                await asyncio.sleep(0)

    client = AsyncGreenNodeClient(
        "https://api.example/v1",
        "sk-1",
        timeout=0.05,
        transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=Trickle())),
        sleep=Slept(),
    )
    with pytest.raises(RetryableError, match="no whole reply within"):
        await client.get_batch("batch_1")


async def test_a_cancelled_wait_is_not_swallowed():
    started = asyncio.Event()

    async def handler(request):
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(client_of(handler).get_batch("batch_1"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_polls_share_the_event_loop():
    """A slow server holds up no other poll: all are under way before the first is answered."""
    under_way = 0
    all_started = asyncio.Event()

    async def handler(request):
        nonlocal under_way
        under_way += 1
        if under_way == 10:
            all_started.set()
        await all_started.wait()
        return httpx.Response(200, json=BATCH)

    async with client_of(handler) as client:
        batches = await asyncio.gather(*(client.get_batch(f"b{n}") for n in range(10)))
    assert len(batches) == 10


async def test_no_more_calls_are_under_way_than_there_may_be_connections():
    under_way, most = 0, 0

    async def handler(_request):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return httpx.Response(200, json=BATCH)

    transport = httpx.MockTransport(handler)
    async with AsyncGreenNodeClient("https://api.example/v1", "sk-1", transport=transport, max_connections=2) as client:
        await asyncio.gather(*(client.get_batch("batch_1") for _ in range(6)))
    assert most == 2


async def test_a_real_connection_is_used(serve):
    server = serve(serve.answer(200, json.dumps(BATCH).encode()))
    async with AsyncGreenNodeClient(server.base_url, "sk-1") as client:
        assert (await client.get_batch("batch_1")).id == "batch_1"
    assert b"GET /v1/batches/batch_1 " in server.requests[0]
