"""apache-airflow-providers-common-ai 1.0.0: `LLMBatchOperator.execute`, one operator a batch of 50,000, by position."""

import json
import sys
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
from airflow.providers.common.ai.operators.llm_batch import LLMBatchOperator
from airflow.sdk import ObjectStoragePath

_BATCH_ROWS = 50_000

source, work, base_url, model, question, out = sys.argv[1:]
rows = pq.read_table(source)
answers: list[str | None] = []
for number, start in enumerate(range(0, rows.num_rows, _BATCH_ROWS)):
    texts = rows["text"].slice(start, _BATCH_ROWS).to_pylist()
    instance = SimpleNamespace(
        dag_id="bench", task_id="ask", run_id="bench", map_index=number, xcom_push=lambda **_pushed: None
    )
    operator = LLMBatchOperator(
        task_id="ask",
        requests=[question + text for text in texts],
        result_path=f"file://{work}/results",
        llm_conn_id="llm",
        model_id=f"openai:{model}",
        max_tokens=60,
        request_params={"temperature": 0},
        poll_interval=30,
    )
    manifest = operator.execute({"task_instance": instance, "ti": instance})
    found: list[str | None] = [None] * len(texts)
    with ObjectStoragePath(manifest["result_uri"]).open("r") as lines:
        for line in lines:
            row = json.loads(line)
            found[row["index"]] = row["output"]
    answers += found
pq.write_table(pa.table({"id": rows["id"], "answer": answers}), out)
