"""What every row is asked here, by the engine, by the floor and by the peers."""

MODEL = "google/gemma-4-31b-it"
QUESTION = "Which section does this belong to? Answer with one word.\n\n"
"""What comes before the text of the row."""
PARAMS = {"max_tokens": 60, "temperature": 0}
RUN_ID = "bench"
CACHED_RUN_ID = "bench-noted"
CHANGED_RUN_ID = "bench-changed"
PARTS_RUN_ID = "bench-parts"
BATCH_ID = "batch_1"
