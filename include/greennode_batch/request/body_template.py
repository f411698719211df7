"""A cut body: what is constant in a request's body, and what fills it row by row."""

from __future__ import annotations

from collections.abc import Sequence

from greennode_batch.errors import ConfigError
from greennode_batch.request.body_json import encode, encode_texts, escape_line_separators
from greennode_batch.request.message_slots import Kind, MessageSlots, Slot
from greennode_batch.request.prompt import TextSource

FIELD_MARK = "\x00field\x00"
"""What stands for the value of a field that comes from a column."""


class BodyTemplate:
    """A body in JSON, cut at the marks of its messages' slots and of its fields, which come behind them.

    sources: what gives the texts of the slots, in order. constants: the bytes before, between and after all cuts, one
    more than there are sources and fields. texts: the sources that a model reads, by place. characters, text_bytes: of
    the constant texts that it reads. needed: sources, by place, of which not all may be empty in a row, and what is
    said where they are.
    """

    def __init__(self, body: bytes, slots: MessageSlots, fields: Sequence[str]) -> None:
        self.sources: list[TextSource] = []
        self.constants = [b""]
        self.texts: set[int] = set()
        self.characters = self.text_bytes = 0
        self._left = body
        indexes = {slot.where: self._fill(slots.mark(number), slot) for number, slot in enumerate(slots.slots)}
        for name in fields:
            self._cut_at(b"," + escape_line_separators(encode({name: FIELD_MARK})[1:-1]))
            self.constants.append(b"")
        self.constants[-1] += self._left
        self.needed = [
            ([index for slot in together for index in indexes[slot.where]], reason)
            for together, reason in slots.needed()
        ]

    def _fill(self, mark: str, slot: Slot) -> range:
        """Put a slot's pieces in place of its mark; which sources are its own."""
        self._cut_at(encode(mark)[1:-1])
        first = len(self.sources)
        for piece in slot.prompt.pieces:
            if isinstance(piece, str):
                (constant,) = encode_texts([piece])
                self.constants[-1] += constant
                if slot.kind is Kind.TEXT:
                    self.characters += len(piece)
                    self.text_bytes += len(constant)
            else:
                if slot.kind is Kind.TEXT:
                    self.texts.add(len(self.sources))
                self.sources.append(piece)
                self.constants.append(b"")
        return range(first, len(self.sources))

    def _cut_at(self, mark: bytes) -> None:
        before, found, self._left = self._left.partition(mark)
        if not found:
            raise ConfigError("a message or parameter holds the character U+0000 and a slot's name")
        self.constants[-1] += before
