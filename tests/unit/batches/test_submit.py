import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import httpx
import msgspec
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.api.wire import BatchStatus
from greennode_batch.batches.submit import SETTLE_SECONDS, submit
from greennode_batch.errors import (
    AmbiguousError,
    BusyError,
    ConfigError,
    CreditError,
    NotFoundError,
    RejectedError,
    RetryableError,
)
from greennode_batch.state.receipts import (
    Claim,
    NumberedClaim,
    Receipt,
    first_receipt,
    latest_claim,
    read_receipt,
    receipt_path,
    take_claim,
    withdraw,
    write_receipt,
)

CANNOT_LIST = ApiProfile(can_list_batches=False)


class Server:
    """A server in the transport: answers by method and path; keeps the requests."""

    def __init__(self, **answers):
        self.answers = {
            "POST /files": (200, {"id": "file-1"}),
            "GET /files/file-1": (200, {"id": "file-1", "status": "processed"}),
            "GET /batches": (200, {"data": [], "has_more": False}),
            "POST /batches": (200, {"id": "batch_1", "status": "validating", "input_file_id": "file-1"}),
            **answers,
        }
        self.requests = []

    def __call__(self, request):
        request.read()
        name = f"{request.method} {request.url.path.removeprefix('/v1')}"
        self.requests.append(name)
        answer = self.answers[name]
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer[0], json=answer[1])

    def client(self, profile=None, base_url="https://host/v1", clock=time.time):
        transport = httpx.MockTransport(self)
        return GreenNodeClient(base_url, "key", profile=profile, transport=transport, clock=clock, sleep=lambda _: None)


def lost(_request):
    return httpx.ReadError("reset")


def test_a_shard_becomes_one_batch_however_often_it_is_submitted(make_shard, client, emulator):
    shard = make_shard()
    receipt = submit(shard, client)
    assert receipt == read_receipt(shard)
    assert (receipt.state, receipt.shard_id) == ("created", shard.shard_id)
    assert client.get_batch(receipt.batch_id).input_file_id == receipt.file_id
    assert submit(shard, client) == receipt
    ledger = emulator.ledger()
    assert (ledger["batches_created"], ledger["files_uploaded"]) == (1, 1)


def test_a_create_that_was_accepted_and_then_dropped_is_found_and_not_sent_again(make_shard, client, emulator, clock):
    emulator.faults([{"endpoint": "POST /batches", "kind": "reset_after"}])
    receipt = submit(make_shard(), client, clock=clock, sleep=clock.sleep)
    (batch,) = client.list_batches()
    assert receipt.batch_id == batch.id
    assert emulator.ledger()["batches_created"] == 1


def test_a_create_that_never_arrived_is_sent_again_once_the_settle_time_has_passed(make_shard, clock):
    replies = iter([httpx.ReadError("reset"), (200, {"id": "batch_2", "status": "validating"})])
    server = Server(**{"POST /batches": lambda _: next(replies)})
    receipt = submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep)
    assert receipt.batch_id == "batch_2"
    assert server.requests.count("POST /batches") == 2
    assert sum(clock.slept) == pytest.approx(SETTLE_SECONDS)


def test_a_batch_that_shows_late_in_the_list_is_found(make_shard, clock):
    found = {"data": [{"id": "batch_late", "status": "validating", "input_file_id": "file-1"}]}
    replies = iter([(200, {"data": []})] * 5)
    server = Server(**{"POST /batches": lost, "GET /batches": lambda _: next(replies, (200, found))})
    receipt = submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep)
    assert receipt.batch_id == "batch_late"
    assert server.requests.count("POST /batches") == 1


def test_a_batch_is_found_at_the_far_end_of_a_long_list(make_shard, clock):
    old = [{"id": f"batch_{n}", "status": "completed", "input_file_id": f"file-{n}"} for n in range(2, 3_000)]
    listed = {"data": [*old, {"id": "batch_mine", "status": "validating", "input_file_id": "file-1"}]}
    server = Server(**{"POST /batches": lost, "GET /batches": (200, listed)})
    assert submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep).batch_id == "batch_mine"


def test_a_worker_killed_between_the_create_and_its_receipt_is_taken_over_from(make_shard, client, emulator):
    shard = make_shard()
    receipt = submit(shard, client)
    write_receipt(shard, msgspec.structs.replace(receipt, state="uploaded", batch_id=None, created_at=None))
    assert submit(shard, client).batch_id == receipt.batch_id
    assert emulator.ledger()["batches_created"] == 1


def test_a_worker_killed_before_its_create_is_taken_over_from_when_the_claim_has_settled(
    make_shard, client, emulator, clock
):
    shard = make_shard()
    file = client.upload_file(shard.requests)
    first_receipt(shard, Receipt(shard_id=shard.shard_id, state="uploaded", file_id=file.id))
    take_claim(shard, NumberedClaim(1, Claim(token="dead", file_id=file.id, claimed_at=clock())))
    receipt = submit(shard, client, clock=clock, sleep=clock.sleep)
    assert receipt.file_id == file.id
    assert sum(clock.slept) == pytest.approx(SETTLE_SECONDS)
    assert emulator.ledger()["batches_created"] == 1


@pytest.mark.parametrize("workers", [2, 6])
def test_workers_who_submit_one_shard_at_once_make_one_batch(make_shard, emulator, workers):
    shard = make_shard()
    barrier = threading.Barrier(workers)

    def work(_):
        with GreenNodeClient(emulator.base_url, emulator.api_key) as client:
            barrier.wait()
            return submit(shard, client, sleep=lambda _: None)

    with ThreadPoolExecutor(workers) as pool:
        receipts = list(pool.map(work, range(workers)))
    assert len({receipt.batch_id for receipt in receipts}) == 1
    assert emulator.ledger()["batches_created"] == 1


def test_a_slow_upload_does_not_overwrite_the_receipt_of_a_faster_worker(make_shard, client, emulator):
    shard = make_shard()

    class Slow:
        """Its upload ends only when another worker has made the batch."""

        profile = client.profile

        def upload_file(self, path, *, filename=None):
            remote = client.upload_file(path, filename=filename)
            submit(shard, client)
            return remote

        def __getattr__(self, name):
            return getattr(client, name)

    receipt = submit(shard, Slow())
    assert receipt == read_receipt(shard)
    assert (receipt.state, emulator.ledger()["batches_created"]) == ("created", 1)


def test_of_two_who_take_over_from_a_dead_worker_one_creates(make_shard, emulator, clock):
    shard = make_shard()
    barrier = threading.Barrier(2)
    with GreenNodeClient(emulator.base_url, emulator.api_key) as client:
        file = client.upload_file(shard.requests)
    first_receipt(shard, Receipt(shard_id=shard.shard_id, state="uploaded", file_id=file.id))
    take_claim(shard, NumberedClaim(1, Claim(token="dead", file_id=file.id, claimed_at=clock() - 1_000)))

    def work(_):
        with GreenNodeClient(emulator.base_url, emulator.api_key) as client:
            barrier.wait()
            return submit(shard, client, clock=clock, sleep=lambda _: None).batch_id

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(work, range(2)))) == 1
    assert emulator.ledger()["batches_created"] == 1


@pytest.mark.parametrize(
    ("status", "error"), [(400, RejectedError), (402, CreditError), (404, NotFoundError), (429, BusyError)]
)
def test_a_definite_no_says_that_nothing_is_paid_and_lets_the_next_try_create_at_once(make_shard, clock, status, error):
    shard = make_shard()
    server = Server(**{"POST /batches": (status, {"error": {"message": "no credit", "code": "c1"}})})
    with pytest.raises(
        error, match=r"shard .*no credit.*No batch was created for this shard, and nothing is paid"
    ) as no:
        submit(shard, server.client(), clock=clock, sleep=clock.sleep)
    assert (no.value.status, no.value.code) == (status, "c1")
    assert latest_claim(shard).claim.released
    receipt = submit(shard, Server().client(), clock=clock, sleep=clock.sleep)
    assert (receipt.batch_id, clock.slept) == ("batch_1", [])


@pytest.mark.parametrize("looks", [1, 2])
def test_a_file_that_the_server_does_not_show_yet_is_waited_for(make_shard, client, emulator, looks):
    # After one look the create has not found it, and the look at the file itself does.
    emulator.faults([{"kind": "file_not_found", "looks": looks}])
    shard = make_shard()
    with pytest.raises(BusyError, match="nothing is paid for it") as busy:
        submit(shard, client)
    assert busy.value.retry_after > 0
    assert submit(shard, client).state == "created"
    assert emulator.ledger()["files_uploaded"] == 1


def test_a_file_that_the_server_is_still_processing_is_waited_for(make_shard, client, emulator):
    emulator.faults([{"kind": "file_processing", "looks": 1, "status": 400}])
    shard = make_shard()
    with pytest.raises(BusyError):
        submit(shard, client)
    assert submit(shard, client).state == "created"


@pytest.mark.parametrize("turn_seconds", [math.inf, 10.0])
@pytest.mark.parametrize("epoch", [1_000.0, 4e9])
def test_a_worker_that_is_held_up_between_its_claim_and_its_create_sends_nothing(
    make_shard, clock, turn_seconds, epoch
):
    clock.now = epoch
    until = min(turn_seconds, 30.0)
    for held_up, sent in ((until + 1, False), (until - 1, True)):
        server = Server()
        # What passes while the worker stands still, the client is the first to see.
        client = server.client(clock=lambda seconds=held_up: clock() + seconds)
        shard, turn = make_shard(f"held up for {held_up} s"), nullcontext(clock() + turn_seconds)
        with nullcontext() if sent else pytest.raises(RetryableError, match="paused for too long"):
            submit(shard, client, admit=lambda _, turn=turn: turn, clock=clock, sleep=clock.sleep)
        assert ("POST /batches" in server.requests) == sent


def test_a_worker_whose_shard_was_taken_over_while_its_create_was_under_way_cancels_what_it_made(make_shard, clock):
    shard = make_shard()

    def taken_over(_request):
        take_claim(shard, NumberedClaim(2, Claim(token="another", file_id="file-1", claimed_at=clock())))
        return 200, {"id": "batch_late", "status": "validating"}

    cancelled = (200, {"id": "batch_late", "status": "cancelling"})
    server = Server(**{"POST /batches": taken_over, "POST /batches/batch_late/cancel": cancelled})
    with pytest.raises(RetryableError, match="batch_late was created; it was cancelled at once"):
        submit(shard, server.client(), clock=clock, sleep=clock.sleep)
    assert read_receipt(shard).batch_id is None


@pytest.mark.parametrize(("status", "cancelled"), [("in_progress", True), ("completed", False)])
def test_a_batch_that_comes_to_be_after_it_was_given_up_is_cancelled(make_shard, clock, status, cancelled):
    creates = iter([httpx.ReadError("reset"), (200, {"id": "batch_2", "status": "validating"})])
    late = {"id": "batch_1", "status": status, "input_file_id": "file-1"}
    others = [
        {"id": "batch_2", "status": "in_progress", "input_file_id": "file-1"},
        {"id": "batch_9", "status": "in_progress", "input_file_id": "file-9"},
    ]

    def listed(_request):
        data = [late, *others] if server.requests.count("POST /batches") == 2 else []
        return 200, {"data": data}

    server = Server(
        **{
            "POST /batches": lambda _: next(creates),
            "GET /batches": listed,
            "POST /batches/batch_1/cancel": (200, late | {"status": "cancelling"}),
        }
    )
    receipt = submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep)
    assert receipt.batch_id == "batch_2"
    assert server.requests.count("POST /batches/batch_1/cancel") == int(cancelled)


def test_that_strays_cannot_be_looked_for_takes_nothing_from_the_receipt(make_shard, clock):
    creates = iter([httpx.ReadError("reset"), (200, {"id": "batch_2", "status": "validating"})])

    def listed(_request):
        return (403, {"error": "no"}) if server.requests.count("POST /batches") == 2 else (200, {"data": []})

    server = Server(**{"POST /batches": lambda _: next(creates), "GET /batches": listed})
    assert submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep).batch_id == "batch_2"


def test_a_withdrawn_shard_is_not_sent(make_shard, client, emulator, clock):
    shard = make_shard()
    assert withdraw(shard, now=clock(), turn=2)
    with pytest.raises(ConfigError, match="was withdrawn"):
        submit(shard, client)
    assert emulator.ledger()["batches_created"] == 0


def test_a_build_that_wakes_late_cannot_withdraw_what_a_later_one_has_planned(make_run, client, clock):
    run, plan = make_run(("id", "text"), [(1, "a")])
    shard = run.shard(plan.shards[0].shard_id)
    assert withdraw(shard, now=clock(), turn=0)
    assert submit(shard, client).state == "created"
    assert not withdraw(shard, now=clock(), turn=2)


@pytest.mark.parametrize(
    ("profile", "listing", "why"),
    [
        (CANNOT_LIST, (500, {}), "cannot list batches"),
        (None, (404, {"error": "no such path"}), "does not list batches .*no such path"),
        (None, (405, {"error": "not allowed"}), "does not list batches .*not allowed"),
        (None, (200, {"data": [{"id": "b", "status": "validating"}]}), "lists batches without the files"),
    ],
)
def test_where_the_server_cannot_tell_a_person_decides(make_shard, clock, profile, listing, why):
    shard = make_shard()
    server = Server(**{"POST /batches": lost, "GET /batches": listing})
    with pytest.raises(AmbiguousError, match=why) as unknown:
        submit(shard, server.client(profile), clock=clock, sleep=clock.sleep)
    assert f'write its id into {receipt_path(shard)} as "batch_id"' in str(unknown.value)
    assert "on_ambiguous='resubmit'" in str(unknown.value)
    assert "file-1" in str(unknown.value)
    assert server.requests.count("POST /batches") == 1

    # The second way out.
    server.answers["POST /batches"] = (200, {"id": "batch_2", "status": "validating"})
    again = submit(shard, server.client(profile), on_ambiguous="resubmit", clock=clock, sleep=clock.sleep)
    assert again.batch_id == "batch_2"


@pytest.mark.parametrize("index", ["the file that the error names", "receipt.json"])
def test_an_id_that_a_person_writes_into_the_receipt_is_taken(make_shard, clock, index):
    shard = make_shard()
    server = Server(**{"POST /batches": lost})
    with pytest.raises(AmbiguousError):
        submit(shard, server.client(CANNOT_LIST), clock=clock, sleep=clock.sleep)
    told = receipt_path(shard)
    assert told.name == "receipt.1.json"
    path = told if index == "the file that the error names" else shard.receipt
    path.write_text(told.read_text().replace('"batch_id": null', '"batch_id": "batch_9"'))
    assert submit(shard, server.client(CANNOT_LIST)).batch_id == "batch_9"
    assert server.requests.count("POST /batches") == 1


def test_resubmitting_waits_for_a_worker_who_may_be_alive(make_shard, clock):
    shard = make_shard()
    first_receipt(shard, Receipt(shard_id=shard.shard_id, state="uploaded", file_id="file-1"))
    take_claim(shard, NumberedClaim(1, Claim(token="alive", file_id="file-1", claimed_at=clock())))
    server = Server()

    def sleep(seconds):
        clock.sleep(seconds)
        if read_receipt(shard).batch_id is None:
            created = msgspec.structs.replace(read_receipt(shard), state="created", batch_id="batch_of_the_other")
            write_receipt(shard, created)

    receipt = submit(shard, server.client(CANNOT_LIST), on_ambiguous="resubmit", clock=clock, sleep=sleep)
    assert receipt.batch_id == "batch_of_the_other"
    assert server.requests == []


def test_a_batch_listed_without_its_file_is_known_by_its_metadata(make_shard, clock):
    created = []

    def create(request):
        created.append(msgspec.json.decode(request.content)["metadata"])
        return httpx.ReadError("reset")

    def listing(_request):
        return 200, {"data": [{"id": "batch_7", "status": "validating", "metadata": created[0]}]}

    server = Server(**{"POST /batches": create, "GET /batches": listing})
    assert submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep).batch_id == "batch_7"


def test_creates_that_never_show_are_given_up_after_three(make_shard, clock):
    server = Server(**{"POST /batches": lost})
    with pytest.raises(RetryableError, match="3 creates of its batch got no good reply"):
        submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep)
    assert server.requests.count("POST /batches") == 3


def test_a_list_that_fails_sends_nothing_again(make_shard, clock):
    server = Server(**{"POST /batches": lost, "GET /batches": (502, {})})
    with pytest.raises(RetryableError, match="list batches"):
        submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep)
    assert server.requests.count("POST /batches") == 1


def test_an_api_that_wants_the_model_in_the_create_gets_it(make_shard):
    sent = []

    def create(request):
        sent.append(msgspec.json.decode(request.content))
        return 200, {"id": "batch_1", "status": "QUEUED"}

    server = Server(**{"POST /batch/jobs": create, "GET /batch/jobs": (200, {"data": []})})
    submit(make_shard(), server.client(PRESETS["mistral"]))
    assert sent[0]["model"] == "google/gemma-4-31b-it"


def test_a_server_without_room_that_asks_for_a_month_is_tried_again_in_a_quarter_of_an_hour_at_most(make_shard):
    def handler(request):
        if request.url.path.endswith("/files"):
            return httpx.Response(200, json={"id": "file-1", "status": "processed"})
        return httpx.Response(429, json={"error": "busy"}, headers={"retry-after": "2592000"})

    client = GreenNodeClient("https://api.example/v1", "sk-1", transport=httpx.MockTransport(handler))
    with pytest.raises(BusyError) as busy:
        submit(make_shard(), client)
    assert 120 < busy.value.retry_after <= 900


@pytest.mark.parametrize("reply", ["first", "last"])
def test_of_batches_that_a_gateway_made_of_one_create_one_is_kept_and_the_others_are_cancelled(
    make_shard, client, emulator, reply
):
    emulator.faults(
        [
            {"kind": "repeated_create", "times": 2, "reply": reply},
            {"kind": "stuck", "status": "in_progress", "count": 3},
        ]
    )
    receipt = submit(make_shard(), client)
    others = [batch for batch in client.list_batches() if batch.id != receipt.batch_id]
    assert sorted(receipt.repeated) == sorted(batch.id for batch in others)
    assert {batch.status for batch in others} <= {BatchStatus.CANCELLING, BatchStatus.CANCELLED}
    assert len(others) == 2
    # The one that is kept goes on, however far it is.
    assert client.get_batch(receipt.batch_id).status in {BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS}


def test_of_batches_that_a_gateway_made_of_a_dropped_create_one_is_kept_and_the_others_are_cancelled(
    make_shard, client, emulator, clock
):
    emulator.faults(
        [
            {"kind": "repeated_create"},
            {"kind": "stuck", "status": "in_progress", "count": 2},
            {"endpoint": "POST /batches", "kind": "reset_after"},
        ]
    )
    receipt = submit(make_shard(), client, clock=clock, sleep=clock.sleep)
    assert (len(receipt.repeated), emulator.ledger()["batches_created"]) == (1, 2)
    assert client.get_batch(receipt.repeated[0]).status in {BatchStatus.CANCELLING, BatchStatus.CANCELLED}


def test_a_batch_whose_input_file_a_gateway_has_swapped_is_found_by_its_metadata(make_shard, client, emulator, clock):
    emulator.faults([{"kind": "swapped_file"}, {"endpoint": "POST /batches", "kind": "reset_after"}])
    receipt = submit(make_shard(), client, clock=clock, sleep=clock.sleep)
    assert client.get_batch(receipt.batch_id).input_file_id != receipt.file_id
    assert emulator.ledger()["batches_created"] == 1


def test_where_files_are_swapped_and_metadata_is_dropped_a_lost_create_stops_and_is_not_paid_twice(
    make_shard, client, emulator, clock, caplog
):
    emulator.faults([{"kind": "swapped_file", "metadata": False, "count": None}])
    submit(make_shard("a"), client, clock=clock, sleep=clock.sleep)
    assert "our metadata is missing" in caplog.text
    emulator.faults([{"endpoint": "POST /batches", "kind": "reset_after"}])
    with pytest.raises(AmbiguousError, match="changes the ids of files, and keeps no metadata"):
        submit(make_shard("b"), client, clock=clock, sleep=clock.sleep)
    assert emulator.ledger()["batches_created"] == 2


def test_an_empty_list_is_believed_until_a_batch_was_created_that_it_does_not_show(make_shard, client, emulator, clock):
    nothing = {"kind": "partial_list", "endpoint": "GET /batches", "show": "nothing", "count": None}
    emulator.faults([nothing, {"endpoint": "POST /batches", "kind": "reset_before"}])
    submit(make_shard("first"), client, clock=clock, sleep=clock.sleep)
    emulator.faults([{"endpoint": "POST /batches", "kind": "reset_after"}])
    shard = make_shard("second")
    with pytest.raises(AmbiguousError, match=r"has never listed one.*extra_headers.*list_trust"):
        submit(shard, client, clock=clock, sleep=clock.sleep)
    assert emulator.ledger()["batches_created"] == 2
    emulator.disarm()
    assert submit(shard, client, clock=clock, sleep=clock.sleep).batch_id
    assert emulator.ledger()["batches_created"] == 2


@pytest.mark.parametrize(("trust", "creates"), [("always", 3), ("never", 2)])
def test_how_far_an_empty_list_is_trusted_can_be_said(make_shard, emulator, clock, trust, creates):
    profile = ApiProfile(list_trust=trust)
    nothing = {"kind": "partial_list", "endpoint": "GET /batches", "show": "nothing", "count": None}
    emulator.faults([nothing])
    with GreenNodeClient(emulator.base_url, emulator.api_key, profile=profile, sleep=lambda _: None) as client:
        submit(make_shard("first"), client, clock=clock, sleep=clock.sleep)
        emulator.faults([{"endpoint": "POST /batches", "kind": "reset_after"}])
        with nullcontext() if trust == "always" else pytest.raises(AmbiguousError, match="list_trust"):
            submit(make_shard("second"), client, clock=clock, sleep=clock.sleep)
    assert emulator.ledger()["batches_created"] == creates


def test_a_list_whose_pages_do_not_turn_proves_nothing(make_shard, clock):
    first = [{"id": f"batch_{n}", "status": "completed", "input_file_id": f"file-{n + 9}"} for n in range(20)]
    listed = {"code": 0, "message": "success", "data": {"listData": first, "totalPage": 2, "pageNum": 1}}
    server = Server(**{"POST /batches": lost, "GET /batches": (200, listed)})
    with pytest.raises(AmbiguousError, match=r"whole list of batches.*2 pages.*list_style"):
        submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep)
    assert server.requests.count("POST /batches") == 1


@pytest.mark.parametrize(("match_by", "found"), [("any", True), ("file_id", True), ("metadata", False)])
def test_what_a_batch_is_found_by_can_be_said(make_shard, clock, match_by, found):
    mine = {"id": "batch_mine", "status": "running", "input_file_id": "file-1", "metadata": {}}
    replies = iter([httpx.ReadError("reset"), (200, {"id": "batch_2", "status": "validating"})])
    server = Server(**{"POST /batches": lambda _: next(replies), "GET /batches": (200, {"data": [mine]})})
    client = server.client(ApiProfile(match_by=match_by))
    receipt = submit(make_shard(), client, clock=clock, sleep=clock.sleep)
    assert receipt.batch_id == ("batch_mine" if found else "batch_2")


def test_a_batch_of_the_same_file_that_another_run_has_made_is_left_alone(make_shard, clock):
    """A server may give files of the same bytes the same id."""
    now = clock()
    theirs = {"id": "theirs", "status": "running", "input_file_id": "file-1", "created_at": now}
    marked = {**theirs, "metadata": {"greennode_airflow_file": "file-1", "greennode_airflow_name": "another.jsonl"}}
    earlier = {**theirs, "id": "earlier", "created_at": now - 7_200}
    mine = {"id": "batch_1", "status": "running", "input_file_id": "file-1", "created_at": now}
    server = Server(**{"GET /batches": (200, {"data": [mine, marked, earlier], "has_more": False})})
    receipt = submit(make_shard(), server.client(), clock=clock, sleep=clock.sleep)
    assert receipt.repeated == ()
    assert not [name for name in server.requests if name.endswith("/cancel")]
