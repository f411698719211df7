-- One row per ticket that came by mail: the key, and what a reply is about.
SELECT
    ticket_id,
    subject,
    body
FROM support_tickets
WHERE channel = 'email'
ORDER BY ticket_id
