"""Token counter: what the texts of requests are in tokens, by a model's own tokenizer, where a job names its file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from greennode_batch.errors import ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.texts import JOBS_FOLDER, read_below
from greennode_batch.request.request_lines import RequestLines
from greennode_batch.request.shown_message import message_texts
from greennode_batch.wording import given_by

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Cut together; what the tokenizer makes of a text is some fifty times as large.
_TOGETHER_CHARACTERS = 1 << 18


class _Body(msgspec.Struct):
    messages: list[dict[str, Any]]


class _Line(msgspec.Struct):
    body: _Body


class TokenCounter:
    """Counts the texts of messages, each by itself. The tokens of a chat template, of tools and images are not in it.

    Reads the tokenizer's file when it first counts. Holds some megabytes beside that.
    """

    def __init__(self, job: str, tokenizer: str) -> None:
        """job: its name. tokenizer: a `tokenizer.json`, by its whole path or its path below `include/jobs`."""
        self._job = job
        self._file = tokenizer
        self._decoder = msgspec.json.Decoder(_Line)

    def counted(self, requests: RequestLines) -> RequestLines:
        """The same requests with their tokens. Raises ConfigError for a tokenizer that cannot be had."""
        messages = (self._decoder.decode(line).body.messages for line in requests.lines)
        return requests._replace(prompt_tokens=self.count(messages))

    def count(self, requests: Iterable[Sequence[Any]]) -> list[int]:
        """Tokens of each request, of which the messages are given."""
        counts: list[int] = []
        together: list[list[str]] = []
        # What all requests say, a system message for one, is cut once.
        distinct: dict[str, int] = {}
        characters = 0
        for messages in requests:
            texts = [text for message in messages for text in message_texts(message)]
            together.append(texts)
            for text in texts:
                if text not in distinct:
                    distinct[text] = 0
                    characters += len(text)
            if characters >= _TOGETHER_CHARACTERS:
                counts += self._sums(together, distinct)
                together, distinct, characters = [], {}, 0
        return counts + self._sums(together, distinct)

    def _sums(self, together: Sequence[Sequence[str]], distinct: dict[str, int]) -> list[int]:
        texts = list(distinct)
        cut = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        distinct.update(zip(texts, map(len, cut), strict=True))
        return [sum(map(distinct.__getitem__, texts)) for texts in together]

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            from tokenizers import Tokenizer  # noqa: PLC0415 - an extra, which few jobs need
        except ImportError:
            raise ConfigError(
                f"job {self._job}: to count by {given_by('tokenizer')} {self._file!r} the library tokenizers is "
                f"needed: pip install 'greennode-airflow[tokenizer]', or leave {given_by('tokenizer')} out. Nothing "
                "was sent"
            ) from None
        text = _read(self._file)
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # noqa: BLE001 - the library raises no narrower one
            raise ConfigError(
                f"job {self._job}: {self._file} is no tokenizer.json of Hugging Face ({error}). Nothing was sent"
            ) from None
        # A file may say to cut texts, or to fill them up, for training.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def token_counter(job: BatchJob) -> TokenCounter | None:
    """The job's counter; None where it names no tokenizer."""
    return TokenCounter(job.name, job.tokenizer) if job.tokenizer else None


def _read(file: str) -> str:
    path = Path(file)
    if not path.is_absolute():
        return read_below(JOBS_FOLDER, file, of="jobs folder")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"tokenizer {file}: cannot be read as UTF-8 text ({error}). Nothing was sent") from None
