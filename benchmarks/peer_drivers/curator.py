"""bespokelabs-curator 0.1.31: an `LLM` in batch mode over a data set."""

import sys

import pyarrow.parquet as pq
import tiktoken


class _NoTokens:
    """Its token count needs a vocabulary from the internet; here counting is free."""

    def encode(self, text: str, **_options: object) -> tuple[()]:
        return ()


tiktoken.encoding_for_model = tiktoken.get_encoding = lambda _name: _NoTokens()

from bespokelabs import curator
from datasets import Dataset

source, work, base_url, model, question, out = sys.argv[1:]


class Section(curator.LLM):
    """The question, and the row that its answer belongs to."""

    def prompt(self, row: dict) -> str:
        return question + row["text"]

    def parse(self, row: dict, response: str) -> dict:
        return {"id": row["id"], "answer": response}


llm = Section(
    model_name=model,
    batch=True,
    backend="openai",
    generation_params={"max_tokens": 60, "temperature": 0},
    backend_params={
        "base_url": base_url,
        "batch_size": 50_000,
        "batch_check_interval": 1,
        "require_all_responses": False,
        "invalid_finish_reasons": ["content_filter"],
    },
)
answers = llm(Dataset(pq.read_table(source)), working_dir=work)
answers = getattr(answers, "dataset", answers)
answers.to_parquet(out)
