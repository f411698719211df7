-- One row per note; the day it was written on is what "tonight" and "next Friday" are counted from.
SELECT
    note_id,
    written_on,
    to_char(written_on, 'FMDay') AS weekday,
    channel,
    body
FROM order_notes
