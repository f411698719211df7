import re
import shutil
from pathlib import Path

import httpx
import msgspec
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.wire import RemoteFile
from greennode_batch.batches.upload import is_unready, remote_name, upload
from greennode_batch.errors import ConfigError, NotFoundError, RejectedError, RetryableError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import (
    Claim,
    NumberedClaim,
    Receipt,
    first_receipt,
    read_receipt,
    take_claim,
    write_receipt,
)

HOUR = 3600.0


def stored(client):
    return [file.filename for file in client.list_files()]


def test_a_shard_is_uploaded_once_under_a_name_of_its_own(make_shard, client, emulator, clock):
    shard = make_shard()
    receipt = upload(shard, client, clock)
    assert upload(shard, client, clock) == receipt == read_receipt(shard)
    assert (receipt.state, receipt.batch_id, receipt.server) == ("uploaded", None, client.host)
    assert emulator.ledger()["files_uploaded"] == 1
    assert stored(client) == [remote_name(shard)]


def test_the_same_bytes_in_another_place_of_staging_have_another_name(make_shard):
    shard = make_shard()
    copy = ShardFolder(shard.path.parent.parent / "attempt_2" / "shards" / shard.shard_id)
    shutil.copytree(str(shard.path), str(copy.path))
    assert remote_name(shard) != remote_name(copy)
    assert remote_name(shard) == remote_name(ShardFolder(shard.path))
    assert re.fullmatch(rf"{shard.shard_id}\.[0-9a-f]{{12}}\.jsonl", remote_name(shard))


def test_two_staging_areas_of_one_path_have_names_apart(make_run):
    """Two machines with one key: each deletes what has its own names."""
    run, plan = make_run(("id", "text"), [(1, "one")])
    shard = run.shard(plan.shards[0].shard_id)
    mine = remote_name(shard)
    assert remote_name(shard) == mine
    (run.path.parent.parent / ".identity.json").unlink()
    assert remote_name(shard) != mine


def test_an_upload_that_an_earlier_version_began_keeps_its_name(make_shard, client, emulator, clock):
    shard = make_shard()
    name = f"{shard.shard_id}.0123456789ab.jsonl"
    size = shard.requests.stat().st_size
    shard.uploading.write_text(f'{{"name": "{name}", "bytes": {size}, "began_at": 1.0}}')
    found = client.upload_file(shard.requests, filename=name)
    assert upload(shard, client, clock).file_id == found.id
    assert remote_name(shard) == name
    assert emulator.ledger()["files_uploaded"] == 1


def test_a_file_that_the_server_has_lost_is_uploaded_again(make_shard, client, emulator, clock):
    shard = make_shard()
    gone = Receipt(
        shard_id=shard.shard_id, state="uploaded", file_id="file-gone", uploaded_at=clock() - 2 * HOUR,
        over_capacity=("batch_0",),
    )  # fmt: skip
    first_receipt(shard, gone)
    receipt = upload(shard, client, clock)
    assert receipt.file_id != "file-gone"
    assert receipt.over_capacity == ("batch_0",), "what the server has turned away is not forgotten"
    assert emulator.ledger()["files_uploaded"] == 1


def test_a_file_of_an_hour_ago_that_is_still_there_is_used(make_shard, client, emulator, clock):
    shard = make_shard()
    receipt = upload(shard, client, clock)
    clock.now += 2 * HOUR
    assert upload(shard, client, clock) == receipt
    assert emulator.ledger()["files_uploaded"] == 1


def test_an_upload_whose_reply_was_lost_is_found_again_by_its_name(make_shard, client, emulator, clock):
    emulator.faults([{"endpoint": "POST /files", "kind": "error_after", "status": 502}])
    shard = make_shard()
    with pytest.raises(RetryableError):
        upload(shard, client, clock)
    receipt = upload(shard, client, clock)
    assert emulator.ledger()["files_uploaded"] == 1
    assert [file.id for file in client.list_files()] == [receipt.file_id]


def test_a_file_of_that_name_that_is_not_whole_is_not_taken_for_it(make_shard, client, emulator, clock, tmp_path):
    shard = make_shard()
    half = tmp_path / "half"
    half.write_bytes(shard.requests.read_bytes()[:-20])
    client.upload_file(half, filename=remote_name(shard))
    shard.uploading.write_text(f'{{"name": "{remote_name(shard)}", "bytes": 1, "began_at": 1.0}}')
    receipt = upload(shard, client, clock)
    assert client.get_file(receipt.file_id).bytes == shard.requests.stat().st_size


def test_where_files_cannot_be_listed_it_is_uploaded_again_at_no_cost(make_shard, client, emulator, clock):
    emulator.faults([
        {"endpoint": "POST /files", "kind": "error_after", "status": 502},
        {"endpoint": "GET /files", "kind": "status", "status": 403},
    ])  # fmt: skip
    shard = make_shard()
    with pytest.raises(RetryableError):
        upload(shard, client, clock)
    assert upload(shard, client, clock).state == "uploaded"
    assert emulator.ledger()["files_uploaded"] == 2


@pytest.fixture
def elsewhere(emulator):
    """A client of the same emulator by another name: another server, as far as a receipt tells."""
    with GreenNodeClient(emulator.base_url.replace("127.0.0.1", "localhost"), emulator.api_key) as made:
        yield made


def test_a_shard_that_may_have_a_batch_on_another_server_is_not_uploaded_here(
    make_shard, client, elsewhere, emulator, clock
):
    for number, have in enumerate((_a_batch, _a_claim), start=1):
        shard = make_shard(str(number))
        have(shard, upload(shard, client, clock), clock)
        before = emulator.ledger()["calls"]
        with pytest.raises(ConfigError, match=r"was sent to 127\.0\.0\.1, and the connection now points to localhost"):
            upload(shard, elsewhere, clock)
        assert emulator.ledger()["calls"] == before


def _a_batch(shard, receipt, clock):
    write_receipt(shard, msgspec.structs.replace(receipt, state="created", batch_id="batch_1", created_at=clock()))


def _a_claim(shard, receipt, clock):
    take_claim(shard, NumberedClaim(1, Claim(token="mine", file_id=receipt.file_id, claimed_at=clock())))


def test_a_shard_that_was_only_uploaded_to_another_server_is_uploaded_here(make_shard, client, elsewhere, clock):
    shard = make_shard()
    upload(shard, client, clock)
    assert upload(shard, elsewhere, clock).server == "localhost"


def test_of_two_workers_who_upload_one_shard_both_go_on_with_the_first_ones_file(make_shard, client, clock):
    shard = make_shard()
    receipts = []

    class Slow:
        """Another worker is done before its upload is."""

        host = client.host

        def upload_file(self, path, *, filename=None):
            remote = client.upload_file(path, filename=filename)
            receipts.append(upload(shard, client, clock))
            return remote

    assert upload(shard, Slow(), clock) == receipts[0] == read_receipt(shard)


def test_results_of_a_batch_whose_receipt_was_removed_are_forgotten_before_it_is_sent_anew(make_shard, client, clock):
    shard = make_shard()
    left = (shard.output, shard.errors, shard.results, shard.anomalies)
    for path in left:
        path.write_text("old")
    upload(shard, client, clock)
    assert not any(path.exists() for path in left)
    assert Path(str(shard.requests)).stat().st_size > 0


def test_a_folder_without_requests_is_named(make_shard, client, clock):
    shard = make_shard()
    shard.requests.unlink()
    with pytest.raises(ConfigError, match=r"requests\.jsonl: no such file, so nothing was sent"):
        upload(shard, client, clock)


class Store:
    """A client whose server says this of any file."""

    def __init__(self, said):
        self.said = said

    def get_file(self, _file_id):
        if isinstance(self.said, Exception):
            raise self.said
        return msgspec.convert({"id": "file", "status": self.said}, RemoteFile)


@pytest.mark.parametrize(
    ("said", "unready"),
    [
        ("processing", True), ("PENDING", True), ("validating", True), ("uploading", True),
        ("processed", False), ("Uploaded", False), ("created", False), ("error", False), (None, False),
        (NotFoundError("no such file"), True), (RejectedError("no"), False),
    ],
)  # fmt: skip
def test_a_refused_create_is_tried_again_only_where_the_server_is_not_done_with_the_file(said, unready):
    receipt = Receipt(shard_id="s", state="uploaded", file_id="file")
    assert is_unready(Store(said), receipt, RejectedError("invalid model")) is unready


def test_the_words_of_the_refusal_may_say_that_the_file_is_not_ready():
    refusal = RejectedError("File file-1 is still being processed")
    assert is_unready(Store("processed"), Receipt("s", "uploaded", "file"), refusal)


def test_a_server_that_wants_the_bytes_by_another_call_is_not_tried_for_a_day(make_shard, clock):
    reply = httpx.Response(201, json={"id": "file-1", "status": "awaiting_upload", "upload_url": "https://x/1"})
    with (
        GreenNodeClient("https://host/v1", "key", transport=httpx.MockTransport(lambda _: reply)) as client,
        pytest.raises(RejectedError, match=r"awaiting_upload.*upload_style 'presigned'"),
    ):
        upload(make_shard(), client, clock)


@pytest.mark.parametrize(
    ("error", "status", "unready"),
    [
        (RejectedError("no", status=422, code="PROCESSING"), "ready", True),
        (RejectedError("File f is still processing.", status=422), "ready", True),
        (RejectedError("no", status=400), "processing", True),
        (RejectedError("no", status=400), "awaiting_upload", False),
        (RejectedError("no", status=400), "uploaded", False),
        (NotFoundError("create: HTTP 404: No such File object: file-1", status=404), "processed", True),
        (NotFoundError("create from file file-1: HTTP 404: Not Found. Set batches_path", status=404), "ready", False),
        (NotFoundError("create: HTTP 404: File not found. Set batches_path", status=404), "ready", False),
        (NotFoundError("create: HTTP 404: the model of file-1 does not exist", status=404), "processed", False),
    ],
)
def test_whether_a_file_is_not_ready_yet_is_told_by_the_refusal_or_its_status(error, status, unready):
    reply = httpx.Response(200, json={"id": "file-1", "status": status})
    receipt = Receipt(shard_id="s", state="uploaded", file_id="file-1")
    with GreenNodeClient("https://host/v1", "key", transport=httpx.MockTransport(lambda _: reply)) as client:
        assert is_unready(client, receipt, error) is unready
