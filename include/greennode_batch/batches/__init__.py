"""One shard becomes one batch, exactly once.

upload     stores a shard's file at the API, and finds it there again if the reply was lost
submit     claim, create, and find a batch whose reply was lost
stopped    refuses a shard whose run was stopped
wait       one poll of a batch, and the next step
credit     stops a run once the account's credit is used up
throttle/  our own limits on batches at the server, and the queue behind them
"""
