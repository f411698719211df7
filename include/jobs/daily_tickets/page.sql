-- The day's tickets, the most urgent first.
SELECT
    ticket_id,
    topic,
    urgency,
    summary,
    status,
    error
FROM daily_labels
WHERE created_at >= '{{ data_interval_start }}' AND created_at < '{{ data_interval_end }}'
ORDER BY urgency DESC NULLS LAST, ticket_id
