-- One row per message and model: what was expected, what was said, what it took, and what the judge thought of it.
SELECT
    a.message_id,
    m.body,
    a.model,
    a.status,
    m.intent AS expected,
    a.intent AS said,
    a.reply,
    a.prompt_tokens,
    a.completion_tokens,
    a.custom_id,
    v.score,
    v.reason
FROM wallet_answers AS a
JOIN wallet_messages AS m ON m.message_id = a.message_id
LEFT JOIN wallet_answers_verdicts AS v
    ON v.message_id = a.message_id AND v.candidate = a.model AND v.status = 'succeeded'
