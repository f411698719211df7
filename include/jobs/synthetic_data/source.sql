-- Twelve seeds times twelve writers: 144 rows. Another writer, mood and length is what makes examples differ; each
-- seed meets each writer once, and moods and lengths go round at steps that share no factor with twelve.
SELECT
    seed_id,
    variant,
    intent,
    language,
    example,
    writer,
    (ARRAY['calm', 'in a hurry', 'annoyed', 'very polite', 'joking'])[1 + (seed_id + variant) % 5] AS mood,
    (ARRAY[8, 15, 25, 40, 60, 90, 12])[1 + (3 * seed_id + variant) % 7] AS words
FROM message_seeds
CROSS JOIN (VALUES
    (1, 'a student who types on a phone, without capitals'),
    (2, 'a grandmother whose grandson taught her to text'),
    (3, 'the owner of a small shop who orders every week'),
    (4, 'a father at work, between two meetings'),
    (5, 'somebody who has asked twice before and got no answer'),
    (6, 'a first-time buyer who does not know the words of the trade'),
    (7, 'a lawyer who gives dates and amounts'),
    (8, 'a foreigner in Hanoi whose language is not the one they write in'),
    (9, 'a nurse after a night shift'),
    (10, 'a motorbike courier who buys for himself'),
    (11, 'a secretary who writes for her boss'),
    (12, 'a teenager full of emoji and abbreviations')
) AS writers (variant, writer)
