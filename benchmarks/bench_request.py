"""The question about every row, the same for the engine, the floor and the peers."""

MODEL = "google/gemma-4-31b-it"
QUESTION = "Which section does this belong to? Answer with one word.\n\n"
"""The text before that of the row."""
PARAMS = {"max_tokens": 60, "temperature": 0}
RUN_ID = "bench"
CACHED_RUN_ID = "bench-noted"
CHANGED_RUN_ID = "bench-changed"
PARTS_RUN_ID = "bench-parts"
BATCH_ID = "batch_1"
