"""Table -> shards: source (file_source), keys, prompt, request_lines, known_rows, shard_set, written down in plan.

`builder` puts them in a row. `kept_shards` and `rebuild` are for a run that is built again, `retry` for what is asked
again, `preview` shows what would be asked.
"""
