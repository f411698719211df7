"""One shard becomes one batch, exactly once, or is answered live.

upload     stores a shard's file at the API, and finds it there again if the reply was lost
submit     claim, create, and find a batch whose reply was lost
stopped    refuses a shard whose run was stopped
wait       one poll of a batch, and the next step
live_shard answers a shard's requests one by one, without a batch
live_pace  how many live requests are under way at a time, and when the next one may be sent
credit     stops a run once the account's credit is used up
throttle/  our own limits on batches at the server, and the queue behind them
"""
