-- One row per category: how many tickets there are, and of the most urgent and newest what each is about.
SELECT
    category,
    count(*) AS tickets,
    count(*) FILTER (WHERE urgency >= 4) AS urgent,
    count(*) FILTER (WHERE language = 'vi') AS vietnamese,
    string_agg('- [' || urgency || '] ' || summary, E'\n' ORDER BY place) FILTER (WHERE place <= 60) AS summaries
FROM (
    SELECT
        category,
        urgency,
        language,
        summary,
        row_number() OVER (PARTITION BY category ORDER BY urgency DESC, ticket_id DESC) AS place
    FROM ticket_labels
    WHERE status = 'succeeded'
) AS labels
GROUP BY category
