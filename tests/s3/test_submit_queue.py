from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from upath import UPath

from greennode_batch.batches.throttle.limits import Limits
from greennode_batch.batches.throttle.queue import SubmitQueue
from greennode_batch.batches.throttle.queue_folder import queue_folder
from greennode_batch.errors import BusyError
from greennode_batch.staging.folders import ShardFolder
from greennode_batch.state.receipts import Receipt, read_receipt, write_receipt


def test_of_shards_that_come_at_once_one_is_admitted_and_the_others_follow(bucket, client):
    """In either kind of store, one of which ignores that a file is to be made only if it is not there."""
    root = UPath(str(bucket), **bucket.storage_options) / "staging"

    def opened(path):
        return ShardFolder(UPath(path, **bucket.storage_options))

    def sent(name):
        line = SubmitQueue(queue_folder(root, "c"), Limits(max_batches_in_flight=1), client, shard_at=opened)
        shard = opened(f"{root}/mine/{name}")
        try:
            with line.admit(shard):
                write_receipt(shard, Receipt(name, "created", "file", client.host, f"batch of {name}"))
        except BusyError:
            return None
        return shard

    names = ["a", "b", "c"]
    with ThreadPoolExecutor(3) as pool:
        (first,) = filter(None, pool.map(sent, names))
    names.remove(first.shard_id)
    write_receipt(first, msgspec.structs.replace(read_receipt(first), state="collected"))
    (second,) = filter(None, map(sent, names))
    with pytest.raises(StopIteration):
        next(filter(None, map(sent, set(names) - {second.shard_id})))
