"""Token counter: counts prompt tokens with a model's own tokenizer, if the job names its file."""

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

# Texts that are tokenized together; the tokenizer's output is about fifty times as large as its input.
_TOGETHER_CHARACTERS = 1 << 18


class _Body(msgspec.Struct):
    messages: list[dict[str, Any]]


class _Line(msgspec.Struct):
    body: _Body


class TokenCounter:
    """Counts the texts of messages, each separately.

    The tokens of a chat template, of tools and of images are not included. Reads the tokenizer's file at the first
    count. Holds the tokenizer and a few megabytes.
    """

    def __init__(self, job: str, tokenizer: str) -> None:
        """job: the name of the job, for errors.

        tokenizer: a `tokenizer.json`, as an absolute path or a path below `include/jobs`.
        """
        self._job = job
        self._file = tokenizer
        self._decoder = msgspec.json.Decoder(_Line)

    def counted(self, requests: RequestLines) -> RequestLines:
        """Add the token counts to the requests. Raises ConfigError if the tokenizer cannot be loaded."""
        messages = (self._decoder.decode(line).body.messages for line in requests.lines)
        return requests._replace(prompt_tokens=self.count(messages))

    def count(self, requests: Iterable[Sequence[Any]]) -> list[int]:
        """Count the tokens of each request, given by its messages."""
        counts: list[int] = []
        together: list[list[str]] = []
        # Texts that many requests share, such as a system message, are tokenized once.
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
                f"job {self._job}: {given_by('tokenizer')} {self._file!r} needs the library tokenizers: run "
                f"pip install 'greennode-airflow[tokenizer]', or leave {given_by('tokenizer')} out. Nothing was sent"
            ) from None
        text = _read(self._file)
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # noqa: BLE001 - the library raises no narrower type
            raise ConfigError(
                f"job {self._job}: {self._file} is not a Hugging Face tokenizer.json ({error}). Nothing was sent"
            ) from None
        # For training, a tokenizer file may ask to truncate or pad texts.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


def token_counter(job: BatchJob) -> TokenCounter | None:
    """The job's token counter; None if the job names no tokenizer."""
    return TokenCounter(job.name, job.tokenizer) if job.tokenizer else None


def _read(file: str) -> str:
    path = Path(file)
    if not path.is_absolute():
        return read_below(JOBS_FOLDER, file, of="jobs folder")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"tokenizer {file}: cannot be read as UTF-8 text ({error}). Nothing was sent") from None
