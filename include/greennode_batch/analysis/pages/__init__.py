"""Pages: self-contained HTML files with results.

template    renders Jinja templates; `base.html.j2` has the style of all pages
query_page  renders the rows of a query with a user's template
"""
