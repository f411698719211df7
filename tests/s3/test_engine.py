import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyarrow.parquet as pq
import pytest
from airflow.sdk import ObjectStoragePath
from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.batches.submit import submit
from greennode_batch.errors import ConfigError
from greennode_batch.plan.build import build
from greennode_batch.plan.partition_files import read_parts, write_part
from greennode_batch.run import run_to_file
from greennode_batch.source.partition import Part
from greennode_batch.source.rows import Rows
from greennode_batch.staging import exclusive
from greennode_batch.staging.folders import ShardFolder, fresh_names, land, local_copy, run_folder, write_json
from greennode_batch.state.receipts import NumberedClaim, latest_claim, read_receipt

TEXTS = ["one", "two", "one", "", "three"]

NewRoot = Callable[[], UPath]


@pytest.fixture(params=["upath", "airflow"])
def new_root(request: pytest.FixtureRequest, bucket: UPath) -> NewRoot:
    """Makes the staging root anew, as another worker would: as the engine alone has it, and as a deployment has it."""
    if request.param == "upath":
        return lambda: UPath(f"{str(bucket).rstrip('/')}/staging", **bucket.storage_options)
    root = request.getfixturevalue("airflow_root")
    return lambda: ObjectStoragePath(root)


@pytest.mark.parametrize(
    ("store", "new_root"),
    [
        ("moto", "upath"),
        ("rclone", "airflow"),
        pytest.param("moto", "airflow", marks=pytest.mark.nightly),
        pytest.param("rclone", "upath", marks=pytest.mark.nightly),
    ],
    indirect=True,
)
def test_every_row_goes_through_a_staging_area_on_s3_and_is_paid_once(
    new_root, job, client, emulator, tmp_path, monkeypatch
):
    # There is one worker only.
    monkeypatch.setattr(exclusive, "SETTLE_SECONDS", 0.1)

    def start(rows):
        return run_to_file(
            job,
            rows,
            client,
            run_folder(new_root(), "job", "run"),
            tmp_path / "answers.parquet",
            run_id="run",
            sleep=lambda _: None,
        )

    made = start(lambda: Rows.from_tuples(("id", "text"), iter([list(enumerate(TEXTS))])))
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert sorted(row["id"] for row in rows) == [0, 1, 2, 3, 4]
    assert made.statuses == {"succeeded": 4, "unsent": 1}
    assert (emulator.ledger()["batches_created"], emulator.ledger()["requests_billed"]) == (2, 3)

    before = emulator.ledger()["calls"]
    again = start(lambda: pytest.fail("the source is read again"))
    assert again.statuses == made.statuses
    assert emulator.ledger()["calls"] == before


def test_two_workers_who_submit_one_shard_at_once_make_one_batch(new_root, make_shard, emulator):
    path = str(make_shard(new_root()).path)
    root = new_root()
    barrier = threading.Barrier(2)

    def work(_):
        shard = ShardFolder(type(root)(path, **root.storage_options))
        with GreenNodeClient(emulator.base_url, emulator.api_key) as client:
            barrier.wait()
            return submit(shard, client, sleep=lambda _: None)

    with ThreadPoolExecutor(2) as pool:
        receipts = list(pool.map(work, range(2)))
    assert len({receipt.batch_id for receipt in receipts}) == 1
    assert emulator.ledger()["batches_created"] == 1


def test_a_worker_killed_while_it_claimed_is_taken_over_from(rclone, make_bucket, make_shard, client, emulator):
    shard = make_shard(make_bucket(rclone))
    first = submit(shard, client)
    claim = latest_claim(shard)
    # As it was just before the claim's file was put and the batch created.
    write_json(shard.receipt, {"shard_id": shard.shard_id, "state": "uploaded", "file_id": first.file_id})
    write_json(shard.claim(1).with_name(f"creating.1.json.{'0' * 32}"), claim.claim)
    shard.claim(1).unlink()
    receipt = submit(shard, client, settle_seconds=0.1, sleep=lambda _: None)
    assert receipt.batch_id == first.batch_id
    assert read_receipt(shard) == receipt
    assert latest_claim(shard) == claim
    assert emulator.ledger()["batches_created"] == 1


def test_a_path_of_airflow_takes_every_call_that_staging_makes(airflow_root, tmp_path):
    folder = ShardFolder(ObjectStoragePath(airflow_root) / "run" / "shards" / "shard")
    (tmp_path / "made").write_bytes(b"one\ntwo\n")
    land(tmp_path / "made", folder.requests)
    with folder.requests.open("rb") as file:
        assert list(file) == [b"one\n", b"two\n"]
    with local_copy(folder.requests) as copy:
        assert copy.read_bytes() == b"one\ntwo\n"
    assert folder.requests.stat().st_size == 8
    assert exclusive.create_exclusive(folder.claim(1), {"token": "t", "file_id": "f", "claimed_at": 1.0})
    assert not exclusive.create_exclusive(folder.claim(1), {"token": "u", "file_id": "f", "claimed_at": 1.0})
    assert isinstance(latest_claim(folder), NumberedClaim)
    assert latest_claim(folder).claim.token == "t"
    assert sorted(fresh_names(folder.path)) == ["creating.1.json", "requests.jsonl"]
    # The path that goes from task to task names its connection, and leads to the same files.
    again = ShardFolder(ObjectStoragePath(str(folder.path)))
    assert str(again.path).startswith(airflow_root)
    assert latest_claim(again) == latest_claim(folder)


def test_a_bucket_without_a_connection_is_found_by_the_environment(rclone, make_bucket, monkeypatch):
    for name, option in (
        ("AWS_ENDPOINT_URL", "endpoint_url"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ):
        monkeypatch.setenv(name, rclone.options[option])
    shard = ShardFolder(ObjectStoragePath(f"{str(make_bucket(rclone)).rstrip('/')}/staging/shard"))
    write_json(shard.requests, {})
    assert [path.name for path in shard.path.iterdir()] == ["requests.jsonl"]
    write_json(shard.results, {})
    assert shard.results.exists()


def test_a_source_that_is_read_in_parts_goes_through_a_staging_area_on_s3(new_root, job, client):
    job = dataclasses.replace(job, partitions=2)
    for part, rows in ((Part(0, 2), [(1, "one"), (2, "two")]), (Part(1, 2), [(3, "one")])):
        run = run_folder(new_root(), "job", "run")
        assert write_part(job, Rows.from_tuples(("id", "text"), [rows]), run, part, profile=client.profile)
    run = run_folder(new_root(), "job", "run")
    plan = build(job, lambda: read_parts(job, run, profile=client.profile), run, run_id="run", profile=client.profile)
    assert (plan.rows, plan.requests) == (3, 2)
    # Made by another version of the job, it takes the place of what was there.
    changed = dataclasses.replace(job, prompt="Another: {{ text }}")
    write_part(changed, Rows.from_tuples(("id", "text"), [[(1, "one")]]), run, Part(0, 2), profile=client.profile)
    run = run_folder(new_root(), "job", "run")
    assert len(fresh_names(run.part(0, 2))) == 1
    with pytest.raises(ConfigError, match="another version of the job"):
        read_parts(job, run, profile=client.profile)
