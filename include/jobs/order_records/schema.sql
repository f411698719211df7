CREATE TABLE IF NOT EXISTS order_notes (
    note_id    text PRIMARY KEY,
    written_on date NOT NULL,
    channel    text NOT NULL CHECK (channel IN ('chat', 'email', 'phone', 'app')),
    body       text NOT NULL
);
