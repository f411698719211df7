"""Table -> shards: source (file_source), keys, prompt, request_lines, target_rows, shard_set, written down in plan.

`builder` puts them in a row. Of a table that was asked before, `unchanged_rows` takes out what needs no request: most
of it by `row_hashes` and the `answer_cache` of the run before; `batch_buffer` holds what is left over. `kept_shards`
and `rebuild` are for a run that is built again, `retry` for what is asked again, `preview` shows what would be asked.
"""
