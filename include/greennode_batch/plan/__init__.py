"""Requests become shards and plan.json.

build              the whole step: shards and the plan, written last
builder            batches of source rows -> requests, or the reason why a row is not sent
unique_keys        each row has one key, never NULL, never twice (bloom_filter: most are new at a glance)
shard_set          each request goes into one shard, once (request_index, repeated_requests: where it came before)
open_shard         a batch file and its source rows while they are written (shard_file, source_rows)
copied_shard       rows that no request asks: one target gives their answers to another
kept_shards        what was sent stays when a run is built again (kept_index: its rows; rebuild: whose turn it is)
partition_files    what one task has read and rendered, for the build to put into shards
preview            what a run would send, for a person to read
preflight          key, model and first request are tried before a table is paid for
approval           a person's yes or no to the estimate
"""
