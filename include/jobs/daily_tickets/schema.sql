CREATE TABLE IF NOT EXISTS support_tickets (
    ticket_id  text PRIMARY KEY,
    created_at timestamptz NOT NULL,
    channel    text NOT NULL CHECK (channel IN ('email', 'chat', 'phone', 'app', 'web')),
    customer   text,
    product    text,
    subject    text,
    body       text,
    category   text NOT NULL CHECK (
        category IN ('billing', 'outage', 'account', 'how_to', 'feature_request', 'complaint', 'other')
    )
);
