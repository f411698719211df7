"""Results + source rows -> target table: join matches by custom_id, target writes one shard in one transaction."""
