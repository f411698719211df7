"""Batch files -> one result per request: answers reads what a model wrote, results accounts for every line."""
