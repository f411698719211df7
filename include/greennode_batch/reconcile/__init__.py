"""Source = shards = results = target, by id: staged (what lies in staging) -> written (the target) -> differences."""
