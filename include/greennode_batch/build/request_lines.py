"""Request lines: one line of a batch file per distinct request, addressed by its content."""

from __future__ import annotations

import hashlib
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from greennode_batch.api.lines import iter_lines
from greennode_batch.api.profile import ApiProfile
from greennode_batch.build.prompt import Prompt, TextSource
from greennode_batch.build.source import RowBatch
from greennode_batch.errors import ConfigError, RowError
from greennode_batch.staging import ShardFolder, local_copy


class RequestLines(NamedTuple):
    r"""A batch of requests: row by row the id that its result will carry, and the line of a batch file with its `\n`.

    characters: of the texts of each. blank: the rows whose last message, the question, is empty, by place.
    constant_bytes: of a line, beside its texts.
    """

    model: str
    constant_bytes: int
    custom_ids: list[str]
    lines: list[bytes]
    characters: list[int]
    blank: frozenset[int]

    def chosen(self, places: Sequence[int]) -> RequestLines:
        """Some of them, by their places."""
        if len(places) == len(self.lines):
            return self
        return self._replace(
            custom_ids=[self.custom_ids[place] for place in places],
            lines=[self.lines[place] for place in places],
            characters=[self.characters[place] for place in places],
            blank=frozenset(number for number, place in enumerate(places) if place in self.blank),
        )

    def first(self, places: Sequence[int]) -> RequestLines:
        """Of those at these places the distinct ones, each where it comes first."""
        if len(places) == len(set(self.custom_ids)) == len(self.custom_ids):
            return self
        first = {self.custom_ids[place]: place for place in reversed(places)}
        return self.chosen(sorted(first.values()))


class RequestTemplate:
    """The request body of a job for one model, with a slot for every text that depends on the row.

    Everything but these texts is encoded once. `custom_id` is the hex of a 128-bit BLAKE2b of the body's bytes
    as they are sent, so equal requests have equal ids whatever row or run they come from.
    """

    def __init__(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        params: Mapping[str, Any],
        columns: Sequence[str],
        line_fields: Mapping[str, str],
        prompt_name: str = "prompt",
    ) -> None:
        """columns: all that the source has. line_fields: what goes between `custom_id` and `body`: `method`, `url`."""
        self.model = model
        prompts = [Prompt(_content_of(message, prompt_name), columns, name=prompt_name) for message in messages]
        slotted = [{**message, "content": _slot_mark(place)} for place, message in enumerate(messages)]
        try:
            body = _escape_line_separators(_encode({"model": model, "messages": slotted, **params}))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{prompt_name}: a message or parameter cannot be written as JSON: {error}") from None
        self._sources, constants = _cut(body, prompts)
        self._start, *self._rest = constants
        self._hash_so_far = hashlib.blake2b(self._start, digest_size=_ID_CHARACTERS // 2)
        before_body = b'",' + (_encode(line_fields)[1:-1] + b"," if line_fields else b"") + b'"body":'
        self._before_texts = before_body + self._start
        self._constant_characters = sum(len(piece) for prompt in prompts for piece in _texts_in(prompt))
        self._question = _question_in(prompts[-1])
        marks = sum(len(_encode(_slot_mark(place))) - 2 for place in range(len(prompts)))
        self.constant_bytes = sum(map(len, (_BEFORE_ID, before_body, body, _AFTER_BODY))) - marks + _ID_CHARACTERS
        """Bytes of a line beside its texts."""

    def requests(self, batch: RowBatch) -> RequestLines:
        """The requests of a batch of rows. Raises RowError, which tells the row's place."""
        texts = [source.texts(batch) for source in self._sources]
        characters = [self._constant_characters] * len(batch)
        parts: list[Iterable[bytes]] = []
        for column, constant in zip(texts, self._rest, strict=True):
            parts += [_encode_texts(column), itertools.repeat(constant)]
            characters = list(map(operator.add, characters, map(len, column)))
        bodies = map(b"".join, zip(*parts, strict=False)) if parts else itertools.repeat(b"", len(batch))
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
        blank = self._blank(texts, len(batch))
        return RequestLines(self.model, self.constant_bytes, custom_ids, lines, characters, blank)

    def _blank(self, texts: Sequence[Sequence[str]], rows: int) -> frozenset[int]:
        if self._question is None:
            return frozenset()
        blank: Iterable[int] = range(rows)
        for column in texts[len(texts) - self._question :]:
            blank = [place for place in blank if not column[place] or column[place].isspace()]
        return frozenset(blank)


def _content_of(message: Mapping[str, Any], name: str) -> str:
    content = message.get("content")
    if not isinstance(content, str):
        raise ConfigError(f"{name}: a message's content must be a text, not {type(content).__name__}")
    return content


def _texts_in(prompt: Prompt) -> list[str]:
    return [piece for piece in prompt.pieces if isinstance(piece, str)]


def _question_in(prompt: Prompt) -> int | None:
    """How many texts of a row make the question; None if it is never empty whatever they are."""
    if any(piece and not piece.isspace() for piece in _texts_in(prompt)):
        return None
    return sum(not isinstance(piece, str) for piece in prompt.pieces)


def _cut(body: bytes, prompts: Sequence[Prompt]) -> tuple[list[TextSource], list[bytes]]:
    """What fills the body of a row, and the constant bytes before, between and after."""
    sources: list[TextSource] = []
    constants = [b""]
    for place, prompt in enumerate(prompts):
        before, mark, body = body.partition(_encode(_slot_mark(place))[1:-1])
        if not mark:
            raise ConfigError("a message or parameter holds the character U+0000 and a slot's name")
        constants[-1] += before
        for piece in prompt.pieces:
            if isinstance(piece, str):
                (constant,) = _encode_texts([piece])
                constants[-1] += constant
            else:
                sources.append(piece)
                constants.append(b"")
    constants[-1] += body
    return sources, constants


def request_ids(shard: ShardFolder) -> Iterator[str]:
    """The custom_id of every request of a shard, in the order of its file."""
    with local_copy(shard.requests) as path, path.open("rb") as file:
        for line in iter_lines(file):
            yield id_of_line(line)


def id_of_line(line: bytes) -> str:
    """The custom_id of a request line: the hash of its body, unless that was explained to (see `retry`)."""
    return _decode_id(line).custom_id


class _HasId(msgspec.Struct):
    custom_id: str


_decode_id = msgspec.json.Decoder(_HasId).decode


def line_fields(profile: ApiProfile) -> dict[str, str]:
    """What the profile wants on a line beside `custom_id` and `body`."""
    if profile.line_format == "custom_id+body":
        return {}
    return {"method": "POST", "url": profile.endpoint or f"/v1{profile.chat_path}"}


_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
_ID_CHARACTERS = 32
_BEFORE_ID, _AFTER_BODY = b'{"custom_id":"', b"}\n"
# Raw in a JSON string these are legal, yet a server that splits its lines as text would cut there.
_LINE_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def _slot_mark(index: int) -> str:
    return f"\x00slot {index}\x00"


def _encode_texts(texts: Sequence[str]) -> list[bytes]:
    """The texts as they stand within a JSON string, without its quotes."""
    try:
        encoded = [_encode(text)[1:-1] for text in texts]
    except UnicodeEncodeError:
        for place, text in enumerate(texts):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                words = f"the text holds half of a surrogate pair at character {error.start}: not UTF-8"
                raise RowError(words, row=place) from None
        raise
    return [one if one.isascii() else _escape_line_separators(one) for one in encoded]


def _escape_line_separators(encoded: bytes) -> bytes:
    for raw, escaped in _LINE_SEPARATORS:
        if raw in encoded:
            encoded = encoded.replace(raw, escaped)
    return encoded
