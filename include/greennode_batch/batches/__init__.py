"""One shard becomes one batch, exactly once.

upload     a shard's file gets into the API's store, and is found there again if the reply was lost
submit     claim, create, and find a batch whose reply was lost
stopped    refuses a shard whose run was stopped
wait       one poll of a batch, and what follows from it
credit     stops a run once the account's credit is used up
throttle/  our own limits on what is at the server at a time, and the queue behind them
"""
