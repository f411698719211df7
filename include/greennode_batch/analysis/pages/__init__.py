"""Pages: what a run found as one HTML file, which needs nothing beside itself.

template    Jinja with the look of all pages: `base.html.j2`
summaries   a page of a user's own over the rows of a query
"""
