"""The requests that are worth another attempt.

build_retry   the retryable requests of one attempt become the shards of the next
retry_budget  whether another attempt would cost more than the run may
explanations  explains to a model what was wrong with its answer
"""
