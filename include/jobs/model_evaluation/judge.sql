-- One row per message and model that has answered; `model` itself is the judge's name in the table of verdicts.
SELECT
    a.message_id,
    a.model AS candidate,
    m.body,
    a.reply
FROM wallet_answers AS a
JOIN wallet_messages AS m ON m.message_id = a.message_id
WHERE a.status = 'succeeded'
