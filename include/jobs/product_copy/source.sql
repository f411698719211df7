-- One row per product, channel and language: 24 products are 192 rows.
SELECT
    product_id,
    channel,
    language,
    name,
    category,
    price_vnd,
    facts,
    audience
FROM products
CROSS JOIN (VALUES ('shop_page'), ('facebook'), ('email'), ('sms')) AS channels (channel)
CROSS JOIN (VALUES ('vi'), ('en')) AS languages (language)
