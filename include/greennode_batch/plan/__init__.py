"""Requests become shards and plan.json.

build                the whole step: shards first, the plan last
builder              batches of source rows become requests, or the reason why a row is not sent
unique_keys          checks that every row has a key, never NULL and never twice
bloom_filter         tells quickly that a hash is new
shard_set            puts each request into one shard, once
request_index        where recent requests lie
repeated_requests    requests that may repeat much earlier ones, set aside until all shards exist
open_shard           a batch file and its source rows while they are written
shard_file           the batch file, within the API's limits
source_rows          source.parquet, the rows of a shard
copied_shard         rows whose answer is copied from one target to another
submitted_shards     shards that stay when a run is built again
submitted_index      the rows and requests of these shards
shared_requests      the requests of a run that another run asks for the same rows
rebuild              takes back the shards that a new build no longer plans
partition_files      rows and requests that one task rendered, for the build to put into shards
preview              what a run would send, for a person
preflight            tries the key, the models and the first requests before a table is paid for
approval             a person's yes or no to the estimate
"""
