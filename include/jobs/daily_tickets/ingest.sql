-- Copy the tickets of an interval into the inbox. The same interval again takes what has changed since.
CREATE TABLE IF NOT EXISTS ticket_inbox (
    ticket_id  text PRIMARY KEY,
    created_at timestamptz NOT NULL,
    subject    text,
    body       text
);
INSERT INTO ticket_inbox (ticket_id, created_at, subject, body)
SELECT
    ticket_id,
    created_at,
    subject,
    body
FROM support_tickets
WHERE created_at >= %(start)s AND created_at < %(end)s
ON CONFLICT (ticket_id) DO UPDATE SET
    created_at = excluded.created_at,
    subject = excluded.subject,
    body = excluded.body
