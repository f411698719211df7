"""One shard becomes one batch, exactly once, or is answered live.

upload       a shard's file gets into the API's store, and is found there again if the reply was lost
submit       claim, create, and find a batch whose reply was lost
halves       splits a shard that is larger than the server's limit on enqueued tokens
stopped      refuses a shard whose run was stopped
wait         one poll of a batch, and what follows from it
live_shard   answers a shard's requests one by one, without a batch
live_choice  whether a shard is answered live, and when a run that has to finish by a time stops waiting for batches
live_pace    how many live requests are under way at a time, and when the next one may be sent
live_share   the workers that share the limits of one connection
credit       stops a run once the account's credit is used up
throttle/    our own limits on what is at the server at a time, and the queue behind them
"""
