-- One row per message. The label stays in the table: no model is to see it.
SELECT
    message_id,
    body
FROM wallet_messages
