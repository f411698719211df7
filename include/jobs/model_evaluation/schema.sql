CREATE TABLE IF NOT EXISTS wallet_messages (
    message_id text PRIMARY KEY,
    body       text NOT NULL,
    intent     text NOT NULL CHECK (
        intent IN ('balance', 'transfer_failed', 'refund', 'card_blocked', 'fees', 'limits', 'fraud', 'other')
    )
);
