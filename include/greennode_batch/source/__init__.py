"""Where rows come from: a query or files."""
