"""Message slots: one for each string of a job's messages, each a Jinja template over the columns of a row."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from greennode_batch.errors import ConfigError
from greennode_batch.request.prompt import Prompt
from greennode_batch.request.prompt_files import PromptText


class Kind(enum.Enum):
    """How a model uses a string: it reads a TEXT (a content, or the text of a part) and views MEDIA (any other part).

    OTHER is everything else, such as roles, names and ids.
    """

    TEXT = enum.auto()
    MEDIA = enum.auto()
    OTHER = enum.auto()


class Slot(NamedTuple):
    """A string of the messages."""

    prompt: Prompt
    kind: Kind
    where: str
    """Its path, such as `messages[1].content[0].image_url.url`."""
    message: int
    """The index of its message."""


class MessageSlots:
    """Messages whose strings are replaced by marks. Raises ConfigError for messages that no model accepts."""

    def __init__(self, messages: Sequence[Mapping[str, Any]], columns: Sequence[str], *, name: str) -> None:
        """columns: all columns of the source. name: the name of the prompts in error messages."""
        self._columns = columns
        self._name = name
        self.slots: list[Slot] = []
        """The slots, in the order of their marks."""
        self._messages = messages
        self.marked = [self._message(message, index) for index, message in enumerate(messages)]
        """The messages with a mark in place of each string."""

    @staticmethod
    def mark(index: int) -> str:
        """The mark of a slot."""
        return f"\x00slot {index}\x00"

    def needed(self) -> Iterator[tuple[list[Slot], str]]:
        """Yield groups of slots that may not all be empty for a row, each with the reason given for such a row.

        One group is the texts of the last message, the question, unless that message has other parts as well. Each
        string of a part that is not text is another: an image without a URL is not an image.
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
            raise ConfigError(f"{self._name}: {where} has no content; set it to a text or a list of parts")
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
