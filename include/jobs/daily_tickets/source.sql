-- The tickets of the run's data interval: one day.
SELECT
    ticket_id,
    created_at,
    subject,
    body
FROM ticket_inbox
WHERE created_at >= '{{ data_interval_start }}' AND created_at < '{{ data_interval_end }}'
