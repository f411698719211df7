"""Source = shards = results = target, by id: staged (what lies in staging) -> written (the target) -> differences.

`answered` notes for the next run what a table has answered.
"""
