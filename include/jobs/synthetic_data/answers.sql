-- What near duplicates are looked for in: all messages that came out well, the seeds' order first.
SELECT
    seed_id,
    variant,
    intent,
    language,
    text
FROM synthetic_messages
WHERE status = 'succeeded'
ORDER BY seed_id, variant
