-- One row per ticket; the author's own label goes by another name, so that it can stand beside the model's.
SELECT
    ticket_id,
    created_at,
    channel,
    product,
    subject,
    body,
    category AS true_category
FROM support_tickets
