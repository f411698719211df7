"""Request lines: one line of a batch file per distinct request, addressed by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from greennode_batch.api.lines import iter_lines
from greennode_batch.api.profile import ApiProfile
from greennode_batch.build.prompt import Prompt
from greennode_batch.errors import ConfigError, RowError
from greennode_batch.staging import ShardFolder, local_copy


class RequestLine(NamedTuple):
    r"""A line of a batch file with its `\n`, and the id that its result will carry."""

    custom_id: str
    line: bytes


class RequestTemplate:
    """The request body of a job for one model, with a slot for every text that depends on the row.

    Everything but the slots is encoded once. `custom_id` is the hex of a 128-bit BLAKE2b of the body's bytes
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
        """line_fields: what the profile wants between `custom_id` and `body`, e.g. `method` and `url`."""
        self.model = model
        self._slots: list[Prompt] = []
        slotted = [self._take_slots(message, columns, prompt_name) for message in messages]
        try:
            body = _escape_line_separators(_encode({"model": model, "messages": slotted, **params}))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{prompt_name}: a message or parameter cannot be written as JSON: {error}") from None
        self._constants = self._split(body)
        self._before_body = b'",' + (_encode(line_fields)[1:-1] + b"," if line_fields else b"") + b'"body":'
        self.constant_bytes = len(self.line([""] * len(self._slots)).line)
        """Bytes of a line beside its texts."""

    def _take_slots(self, message: Mapping[str, Any], columns: Sequence[str], name: str) -> dict[str, Any]:
        content = message.get("content")
        if not isinstance(content, str):
            raise ConfigError(f"{name}: a message's content must be a text, not {type(content).__name__}")
        self._slots.append(Prompt(content, columns, name=name))
        return {**message, "content": _slot_mark(len(self._slots) - 1)}

    def _split(self, body: bytes) -> list[bytes]:
        constants = []
        for index in range(len(self._slots)):
            before, mark, body = body.partition(_encode(_slot_mark(index)))
            if not mark:
                raise ConfigError("a message or parameter holds the character U+0000 and a slot's name")
            constants.append(before)
        return [*constants, body]

    def texts(self, row: Sequence[Any]) -> list[str]:
        """The rendered text of every slot, in the order of the messages."""
        return [prompt.render(row) for prompt in self._slots]

    def line(self, texts: Sequence[str]) -> RequestLine:
        """The request line for the rendered texts."""
        parts = [self._constants[0]]
        for text, constant in zip(texts, self._constants[1:], strict=True):
            parts.append(_encode_text(text))
            parts.append(constant)
        body = b"".join(parts)
        custom_id = hashlib.blake2b(body, digest_size=16).hexdigest()
        return RequestLine(custom_id, b'{"custom_id":"' + custom_id.encode() + self._before_body + body + b"}\n")


def request_ids(shard: ShardFolder) -> Iterator[str]:
    """The custom_id of every request of a shard, in the order of its file."""
    with local_copy(shard.requests) as path, path.open("rb") as file:
        for line in iter_lines(file):
            yield id_of_line(line)


def id_of_line(line: bytes) -> str:
    """The custom_id of a request line."""
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
# Raw in a JSON string these are legal, yet a server that splits its lines as text would cut there.
_LINE_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


def _slot_mark(index: int) -> str:
    return f"\x00slot {index}\x00"


def _encode_text(text: str) -> bytes:
    try:
        encoded = _encode(text)
    except UnicodeEncodeError as error:
        raise RowError(f"the text holds half of a surrogate pair at character {error.start}: not UTF-8") from None
    return encoded if encoded.isascii() else _escape_line_separators(encoded)


def _escape_line_separators(encoded: bytes) -> bytes:
    for raw, escaped in _LINE_SEPARATORS:
        if raw in encoded:
            encoded = encoded.replace(raw, escaped)
    return encoded
