CREATE TABLE IF NOT EXISTS message_seeds (
    seed_id  integer PRIMARY KEY,
    intent   text NOT NULL,
    language text NOT NULL CHECK (language IN ('vi', 'en')),
    example  text NOT NULL
);
