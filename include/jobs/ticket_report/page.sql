-- What the page shows, the largest category first.
SELECT
    category,
    tickets,
    urgent,
    vietnamese,
    headline,
    summary,
    causes,
    next_step,
    status,
    error
FROM ticket_reports
ORDER BY tickets DESC, category
