"""Our own limits on batches at the server at a time, and the queue behind them.

limits        how many batches or tokens a connection may have at the server
queue         admits shards in order
queue_folder  the queue's files in staging
completion    when a shard's admission ends
shard_tokens  how many prompt tokens a shard counts for
"""
