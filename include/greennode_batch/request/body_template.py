"""Body template: a request body split into constant bytes and the slots that each row fills."""

from __future__ import annotations

from collections.abc import Sequence

from greennode_batch.errors import ConfigError
from greennode_batch.request.body_json import encode, encode_texts, escape_line_separators
from greennode_batch.request.message_slots import Kind, MessageSlots, Slot
from greennode_batch.request.prompt import TextSource

FIELD_MARK = "\x00field\x00"
"""Stands for the value of a field that comes from a column."""


class BodyTemplate:
    """A JSON body, split at the marks of its message slots and then of its fields from columns."""

    def __init__(self, body: bytes, slots: MessageSlots, fields: Sequence[str]) -> None:
        self.sources: list[TextSource] = []
        """The sources that give the texts of the slots, in order."""
        self.constants = [b""]
        """The bytes before, between and after the slots and fields: one more than there are of both."""
        self.texts: set[int] = set()
        """The indexes of the sources whose texts a model reads."""
        self.characters = self.text_bytes = 0
        """Characters and encoded bytes of the constant texts that a model reads."""
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
        """Indexes of sources of which at least one must give a text for each row, and the reason given if none does."""

    def _fill(self, mark: str, slot: Slot) -> range:
        """Replace a slot's mark with its pieces, and return the range of its sources."""
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
            raise ConfigError("a message or parameter holds the character U+0000, which marks slots here; remove it")
        self.constants[-1] += before
