"""Request lines: one line of a batch file for each distinct request, addressed by its content."""

from __future__ import annotations

import hashlib
import itertools
import operator
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from greennode_batch.api.results.result_lines import iter_lines
from greennode_batch.errors import ConfigError
from greennode_batch.request.body_json import encode, encode_texts, escape_line_separators
from greennode_batch.request.body_template import FIELD_MARK, BodyTemplate
from greennode_batch.request.job_request import JobRequest
from greennode_batch.request.message_slots import MessageSlots
from greennode_batch.request.row_params import RowField
from greennode_batch.request.token_limits import TokenLimits
from greennode_batch.source.rows import RowBatch
from greennode_batch.staging.folders import ShardFolder, local_copy


class RequestLines(NamedTuple):
    """A batch of requests to one model, row by row."""

    model: str
    custom_ids: list[str]
    """The ids that the results will carry."""
    lines: list[bytes]
    r"""The lines of the batch file, each with its `\n`."""
    characters: list[int]
    """The characters in the texts of each request: contents, and the texts of parts."""
    other_bytes: list[int]
    """The bytes of each line besides these texts. They include images, whose tokens do not follow from their size."""
    max_tokens: list[int | None]
    """The longest answer that each request allows; None if there is no limit."""
    blank: dict[int, str]
    """The rows without a prompt, by index, and why."""
    prompt_tokens: list[int] | None = None
    """The prompt tokens of each request, if a tokenizer counted them."""

    def chosen(self, indexes: Sequence[int]) -> RequestLines:
        """Select requests by their indexes."""
        if len(indexes) == len(self.lines):
            return self
        chosen: dict[str, Any] = {
            name: [values[index] for index in indexes]
            for name, values in self._asdict().items()
            if isinstance(values, list)
        }
        blank = {number: self.blank[index] for number, index in enumerate(indexes) if index in self.blank}
        return self._replace(**chosen, blank=blank)

    def of_sample(self, number: int) -> RequestLines:
        """The same requests for their first, second, … sample. Samples differ only in their ids.

        The first sample has the plain ids, so that its answers stay valid if the job asks for more samples later. The
        id of any other sample is the hex of a 128-bit BLAKE2b of the text `<plain id> sample <number>`.
        """
        if number == 1:
            return self
        end = f" sample {number}".encode()
        custom_ids = [
            hashlib.blake2b(plain.encode() + end, digest_size=_ID_CHARACTERS // 2).hexdigest()
            for plain in self.custom_ids
        ]
        after_id = len(_BEFORE_ID) + _ID_CHARACTERS
        lines = [
            b"".join((_BEFORE_ID, custom_id.encode(), line[after_id:]))
            for custom_id, line in zip(custom_ids, self.lines, strict=True)
        ]
        return self._replace(custom_ids=custom_ids, lines=lines)

    def first(self, indexes: Sequence[int]) -> RequestLines:
        """Select the distinct requests among those at these indexes, each at its first occurrence."""
        if len(indexes) == len(set(self.custom_ids)) == len(self.custom_ids):
            return self
        first = {self.custom_ids[index]: index for index in reversed(indexes)}
        return self.chosen(sorted(first.values()))


class RequestTemplate:
    """The request body of a job for one model, with a slot for every text and field that depends on the row.

    The rest is encoded once. `custom_id` is the hex of a 128-bit BLAKE2b of the body's bytes as sent, so equal requests
    have equal ids, whatever row or run they come from.
    """

    def __init__(self, model: str, request: JobRequest, columns: Sequence[str], *, prompt_name: str = "prompt") -> None:
        """columns: all columns of the source."""
        self.model = model
        slots = MessageSlots(request.messages, columns, name=prompt_name)
        params, by_row, line_fields = request.params, request.row_params, request.line_fields
        fields = {**params, **dict.fromkeys(by_row, FIELD_MARK)}
        try:
            body = escape_line_separators(encode({"model": model, "messages": slots.marked, **fields}))
            self._fields = [RowField(name, by_row[name], params) for name in fields if name in by_row]
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{prompt_name}: a message or parameter cannot be written as JSON: {error}") from None
        self._limits = TokenLimits(params, by_row)
        self._cut = BodyTemplate(body, slots, [name for name in fields if name in by_row])
        start, *self._rest = self._cut.constants
        self._hash_so_far = hashlib.blake2b(start, digest_size=_ID_CHARACTERS // 2)
        before_body = b'",' + (encode(line_fields)[1:-1] + b"," if line_fields else b"") + b'"body":'
        self._before_texts = before_body + start
        self.constant_bytes = sum(map(len, (_BEFORE_ID, self._before_texts, *self._rest, _AFTER_BODY))) + _ID_CHARACTERS
        """The bytes that all lines share."""

    def requests(self, batch: RowBatch) -> RequestLines:
        """Render the requests of a batch of rows. Raises RowError with the index of the row."""
        rows = len(batch)
        texts = [source.texts(batch) for source in self._cut.sources]
        encoded = [*map(encode_texts, texts), *(field.entries(batch) for field in self._fields)]
        parts: list[Iterable[bytes]] = []
        characters = [self._cut.characters] * rows
        other_bytes = [self.constant_bytes - self._cut.text_bytes] * rows
        for index, (column, constant) in enumerate(zip(encoded, self._rest, strict=True)):
            parts += [column, itertools.repeat(constant)]
            if index in self._cut.texts:
                characters = list(map(operator.add, characters, map(len, texts[index])))
            else:
                other_bytes = list(map(operator.add, other_bytes, map(len, column)))
        bodies = map(b"".join, zip(*parts, strict=False)) if parts else itertools.repeat(b"", rows)
        custom_ids: list[str] = []
        ends: list[bytes] = []
        start = self._hash_so_far.copy
        for body in bodies:
            digest = start()
            digest.update(body)
            custom_ids.append(digest.hexdigest())
            ends.append(body)
        before = self._before_texts
        lines = [
            b"".join((_BEFORE_ID, custom_id, before, end, _AFTER_BODY))
            for custom_id, end in zip(map(str.encode, custom_ids), ends, strict=True)
        ]
        return RequestLines(
            self.model,
            custom_ids,
            lines,
            characters,
            other_bytes,
            self._limits.of_rows(batch),
            self._blank(texts, rows),
        )

    def _blank(self, texts: Sequence[Sequence[str]], rows: int) -> dict[int, str]:
        blank: dict[int, str] = {}
        for indexes, reason in self._cut.needed:
            empty: Iterable[int] = range(rows)
            for column in map(texts.__getitem__, indexes):
                empty = [row for row in empty if not column[row] or column[row].isspace()]
            blank = dict.fromkeys(empty, reason) | blank
        return blank


def lines_of(shard: ShardFolder) -> Iterator[bytes]:
    """The request lines of a shard, in the order of its file."""
    with local_copy(shard.requests) as path, path.open("rb") as file:
        yield from iter_lines(file, max_bytes=sys.maxsize)


def request_ids(shard: ShardFolder) -> Iterator[str]:
    """The custom_id of each request of a shard."""
    return map(id_of_line, lines_of(shard))


def id_of_line(line: bytes) -> str:
    """The custom_id of a request line.

    It is the hash of the line's body, unless a later attempt explained an invalid answer to the model (see `retry`).
    """
    return _decode_id(line).custom_id


class _HasId(msgspec.Struct):
    custom_id: str


_decode_id = msgspec.json.Decoder(_HasId).decode


_ID_CHARACTERS = 32
_BEFORE_ID, _AFTER_BODY = b'{"custom_id":"', b"}\n"
