"""Batch files -> one result per request.

thoughts splits what a model wrote, answers reads it, result_rows makes rows of lines, results accounts for every line.
"""
