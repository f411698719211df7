"""Batch files -> one result per request.

answers reads what a model wrote, result_rows makes rows of lines, results accounts for every line.
"""
