"""Results + source rows -> targets: join matches by custom_id, target writes a shard into each table or dataset.

`open_table` chooses the way into a table; `earlier_rows` tells the builder what one has of runs before.
"""
