"""Message slots: one for every string of a job's messages, each a Jinja template over the columns of a row."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from greennode_batch.errors import ConfigError
from greennode_batch.request.prompt import Prompt
from greennode_batch.request.prompt_files import PromptText


class Kind(enum.Enum):
    """What a string is to a model: read (a content, or the text of a part), looked at (in any other part), or neither.

    The last are roles, names, ids and the like.
    """

    TEXT = enum.auto()
    MEDIA = enum.auto()
    OTHER = enum.auto()


class Slot(NamedTuple):
    """A string of the messages. where: as in `messages[1].content[0].image_url.url`. message: which of them."""

    prompt: Prompt
    kind: Kind
    where: str
    message: int


class MessageSlots:
    """Messages with their strings taken out. marked: the messages with a mark in place of each; slots: in that order.

    Raises ConfigError for messages that no model takes.
    """

    def __init__(self, messages: Sequence[Mapping[str, Any]], columns: Sequence[str], *, name: str) -> None:
        """columns: all that the source has. name: what the prompts are called in errors."""
        self._columns = columns
        self._name = name
        self.slots: list[Slot] = []
        self._messages = messages
        self.marked = [self._message(message, index) for index, message in enumerate(messages)]

    @staticmethod
    def mark(index: int) -> str:
        """What stands for a slot."""
        return f"\x00slot {index}\x00"

    def needed(self) -> Iterator[tuple[list[Slot], str]]:
        """Slots of which not all may be empty in a row, and what is said of a row where they are.

        These are the texts of the last message, the question, unless it holds more than texts; and whatever makes
        a part that is no text: an image without a URL is no image.
        """
        last = len(self._messages) - 1
        question = [slot for slot in self.slots if slot.message == last and slot.kind is Kind.TEXT]
        constants = "".join(constant for slot in question for constant in slot.prompt.constants)
        if _is_texts(self._messages[last].get("content")) and not constants.strip():
            yield question, "the prompt is empty"
        for slot in self.slots:
            if slot.kind is Kind.MEDIA and slot.prompt.sources:
                yield [slot], f"{slot.where} is empty"

    def _message(self, message: Mapping[str, Any], index: int) -> dict[str, Any]:
        where = f"messages[{index}]"
        if message.get("content") is None and not message.get("tool_calls"):
            raise ConfigError(f"{self._name}: {where} has no content; it is a text or a list of parts")
        return {
            key: self._content(value, f"{where}.content", index)
            if key == "content"
            else self._marked(value, Kind.OTHER, f"{where}.{key}", index)
            for key, value in message.items()
        }

    def _content(self, content: Any, where: str, message: int) -> Any:
        if isinstance(content, list | tuple):
            return [self._part(part, f"{where}[{index}]", message) for index, part in enumerate(content)]
        if not isinstance(content, str | PromptText | None):
            kind = type(content).__name__
            raise ConfigError(f"{self._name}: {where} must be a text or a list of parts, not {kind}")
        return self._marked(content, Kind.TEXT, where, message)

    def _part(self, part: Any, where: str, message: int) -> dict[str, Any]:
        if not isinstance(part, Mapping):
            raise ConfigError(
                f'{self._name}: {where} must be a part such as {{"type": "text", "text": …}}, not {type(part).__name__}'
            )
        own = Kind.TEXT if _is_text(part) else Kind.MEDIA
        return {
            key: self._marked(value, Kind.OTHER if key == "type" else own, f"{where}.{key}", message)
            for key, value in part.items()
        }

    def _marked(self, value: Any, kind: Kind, where: str, message: int) -> Any:
        if isinstance(value, str | PromptText):
            self.slots.append(Slot(Prompt(value, self._columns, name=self._name), kind, where, message))
            return self.mark(len(self.slots) - 1)
        if isinstance(value, Mapping):
            return {key: self._marked(part, kind, f"{where}.{key}", message) for key, part in value.items()}
        if isinstance(value, list | tuple):
            return [self._marked(part, kind, f"{where}[{index}]", message) for index, part in enumerate(value)]
        return value


def _is_texts(content: Any) -> bool:
    return isinstance(content, str | PromptText) or (isinstance(content, list | tuple) and all(map(_is_text, content)))


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text"
