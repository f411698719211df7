"""llm-batch-py 0.1.8: `Runner.run` again and again until no row is in flight."""

import sys
import time
from pathlib import Path

# This file's own folder comes first on the path, and its name is the package's.
sys.path.pop(0)

import polars as pl
import tiktoken
from llm_batch_py import (
    BatchConfig,
    OpenAIConfig,
    PromptCacheConfig,
    ResultCacheStoreConfig,
    Runner,
    StructuredOutputJob,
    structured_template,
)
from pydantic import BaseModel


class _NoTokens:
    """Its token estimate needs a vocabulary from the internet; here the estimate is free."""

    def encode(self, text: str, **_options: object) -> tuple[()]:
        return ()

    def encode_batch(self, texts: list[str], **_options: object) -> list[tuple[()]]:
        return [()] * len(texts)


tiktoken.encoding_for_model = tiktoken.get_encoding = lambda _name: _NoTokens()


class Answer(BaseModel):
    """It supports structured answers only."""

    answer: str


source, work, base_url, model, question, out = sys.argv[1:]
rows = pl.read_parquet(source)
job = StructuredOutputJob(
    name="bench",
    key_cols=["id"],
    input_df=rows,
    prompt_builder=structured_template(messages=question + "{{ row.text }}", name="bench", version="v1"),
    output_model=Answer,
    provider=OpenAIConfig(model=model, base_url=base_url, max_output_tokens=60, temperature=0),
    result_cache=ResultCacheStoreConfig(root_uri=str(Path(work) / "cache")),
    prompt_cache=PromptCacheConfig(mode="off"),
    batch=BatchConfig(batch_size=50_000),
)
runner = Runner()
while True:
    result = runner.run(job, metadata_columns=["llm_batch_py_status"])
    if not runner.last_summary.inflight_rows and not runner.last_summary.submitted_rows:
        break
    time.sleep(1)
result.select("id", "answer").write_parquet(out)
