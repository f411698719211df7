"""Evaluation: answers of several models to the same rows, against labels and a judge.

judge      the job that has a model rate each answer
compared   the rows of a query, one per row and model, checked
figures    what is counted in them, per model and class
examples   rows on which the models differ
latency    how long a run's batches took to answer
page       all of it as one HTML file
"""
