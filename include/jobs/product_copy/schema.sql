CREATE TABLE IF NOT EXISTS products (
    product_id text PRIMARY KEY,
    name       text NOT NULL,
    category   text NOT NULL,
    price_vnd  bigint NOT NULL,
    facts      text NOT NULL,
    audience   text NOT NULL
);
