"""Evaluation: compare the answers of several models to the same rows with labels and with a judge's scores.

judge            the job in which a model rates each answer
compared         reads and checks the rows to compare, one per row and model
figures          counts and scores per model and class
examples         rows on which the models differ
latency          how long a run's answers took
scatter          the chart of accuracy by cost
evaluation_page  all of it as one HTML file
"""
