"""batchlane 0.2.0: `run` with a checkpoint, joined by custom_id."""

import sys
from dataclasses import replace
from pathlib import Path

# This file's own folder comes first on the path, and its name is the package's.
sys.path.pop(0)

import batchlane as bl
import pyarrow.parquet as pq
from batchlane.adapters.openai_shaped import ROWS

source, work, base_url, model, question, out = sys.argv[1:]
# It has no option for the address.
ROWS["openai"] = replace(ROWS["openai"], base_url=base_url)

rows = pq.read_table(source)
lines = [
    bl.BatchLine(
        str(key),
        f"openai/{model}",
        [{"role": "user", "content": question + text}],
        params={"max_tokens": 60, "temperature": 0},
    )
    for key, text in zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True)
]
keys, answers = [], []
for line, result in bl.run(lines, checkpoint=str(Path(work) / "checkpoint.jsonl"), poll_interval=1):
    keys.append(int(line.custom_id))
    answers.append(bl.answer_text(result))
pq.write_table(rows.from_pydict({"id": keys, "answer": answers}), out)
