"""bespokelabs-curator 0.1.31: an `LLM` that answers live, over the messages of request lines."""

import json
import sys
from pathlib import Path

import tiktoken


class _NoTokens:
    """Its token count needs a vocabulary from the internet; here counting is free."""

    def encode(self, text: str, **_options: object) -> tuple[()]:
        return ()


tiktoken.encoding_for_model = tiktoken.get_encoding = lambda _name: _NoTokens()

from bespokelabs import curator
from datasets import Dataset

requests, work, base_url, at_a_time, out = sys.argv[1:]


class Answer(curator.LLM):
    """The question of a line, and the line that its answer belongs to."""

    def prompt(self, row: dict) -> list[dict]:
        return [{"role": "user", "content": row["text"]}]

    def parse(self, row: dict, response: str) -> dict:
        return {"custom_id": row["custom_id"], "answer": response}


lines = [json.loads(line) for line in Path(requests).read_text().splitlines()]
rows = [{"custom_id": line["custom_id"], "text": line["body"]["messages"][0]["content"]} for line in lines]
unlimited = 1_000_000_000
llm = Answer(
    model_name=lines[0]["body"]["model"],
    backend="openai",
    backend_params={
        "base_url": base_url,
        "max_concurrent_requests": int(at_a_time),
        "max_requests_per_minute": unlimited,
        "max_tokens_per_minute": unlimited,
    },
)
answers = llm(Dataset.from_list(rows), working_dir=work)
answers = getattr(answers, "dataset", answers)
answers.to_json(out)
