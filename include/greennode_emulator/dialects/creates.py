"""The bodies that create a batch, and the parts that they share."""

from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec

CHAT_ENDPOINT = "/v1/chat/completions"
_ONE = msgspec.Meta(min_length=1, max_length=1)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A requested batch. `window` None is not checked; `model` applies to lines that name none."""

    input_file_id: str
    endpoint: str
    window: str | None = None
    metadata: dict[str, Any] | None = None
    model: str | None = None


class CreateBody(msgspec.Struct):
    """The body of a create; fields that it does not know are ignored."""

    def wish(self) -> Wish:
        """What it asks for."""
        raise NotImplementedError


def create_fields(
    *,
    input_file: str,
    as_list: bool = False,
    endpoint: str | None = "endpoint",
    window: str | None = "completion_window",
    metadata: str | None = "metadata",
    model: str | None = None,
) -> type[CreateBody]:
    """A body with fields of these names. All but the metadata are required; None: no such field is read."""
    names = {"file": input_file, "endpoint": endpoint, "window": window, "metadata": metadata, "model": model}
    rename = {ours: theirs for ours, theirs in names.items() if theirs is not None}
    name = str | int
    kinds: dict[str, Any] = {
        "file": Annotated[list[name], _ONE] if as_list else name,
        "metadata": dict[str, Any] | None,
    }
    fields = [(ours, kinds.get(ours, str), *([None] if ours == "metadata" else [])) for ours in rename]

    def wish(self: Any) -> Wish:
        return Wish(
            input_file_id=str(self.file[0] if as_list else self.file),
            endpoint=getattr(self, "endpoint", CHAT_ENDPOINT),
            window=getattr(self, "window", None),
            metadata=getattr(self, "metadata", None),
            model=getattr(self, "model", None),
        )

    fields.sort(key=len)
    body = msgspec.defstruct("FieldsCreate", fields, bases=(CreateBody,), namespace={"wish": wish}, rename=rename)
    return cast("type[CreateBody]", body)


class OpenAICreate(CreateBody):
    """Every field is required."""

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
    """The window is fixed, whatever the request says; metadata may hold anything."""

    input_file_id: str
    endpoint: str
    completion_window: str | None = None
    metadata: dict[str, Any] | None = None

    def wish(self) -> Wish:
        """What it asks for."""
        return Wish(input_file_id=self.input_file_id, endpoint=self.endpoint, metadata=self.metadata)


class MistralCreate(CreateBody):
    """A list of files, of which the emulator takes one; the model is for lines that name none."""

    input_files: Annotated[list[str], _ONE]
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
