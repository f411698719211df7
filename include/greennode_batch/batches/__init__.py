"""One shard, one batch, exactly once."""
