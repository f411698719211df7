"""The bodies that create a batch, and what they have in common."""

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A batch that somebody wants. `window` None is not checked; `model` is that of lines which name none."""

    input_file_id: str
    endpoint: str
    window: str | None = None
    metadata: dict[str, Any] | None = None
    model: str | None = None


class CreateBody(msgspec.Struct):
    """The body of a create; fields that it does not have are ignored."""

    def wish(self) -> Wish:
        """What it asks for."""
        raise NotImplementedError


class OpenAICreate(CreateBody):
    """Everything must be said."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[str, str] | None = None

    def wish(self) -> Wish:
        """What it asks for."""
        return Wish(
            input_file_id=self.input_file_id,
            endpoint=self.endpoint,
            window=self.completion_window,
            metadata=self.metadata,
        )


class WindowlessCreate(CreateBody):
    """The window is fixed, whatever is said; metadata may hold anything."""

    input_file_id: str
    endpoint: str
    completion_window: str | None = None
    metadata: dict[str, Any] | None = None

    def wish(self) -> Wish:
        """What it asks for."""
        return Wish(input_file_id=self.input_file_id, endpoint=self.endpoint, metadata=self.metadata)


class MistralCreate(CreateBody):
    """A list of files, of which the emulator takes one; the model for lines that name none."""

    input_files: Annotated[list[str], msgspec.Meta(min_length=1, max_length=1)]
    endpoint: str
    model: str | None = None
    timeout_hours: Annotated[int, msgspec.Meta(ge=1, le=168)] = 24
    metadata: dict[str, Any] | None = None

    def wish(self) -> Wish:
        """What it asks for."""
        return Wish(
            input_file_id=self.input_files[0],
            endpoint=self.endpoint,
            metadata=self.metadata,
            model=self.model,
        )
