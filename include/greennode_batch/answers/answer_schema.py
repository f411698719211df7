"""Answer schema: the JSON schema of an answer model, as a request states it."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from greennode_batch.errors import ConfigError

_MAX_NAME = 64
_VALID_NAME = re.compile(rf"[a-zA-Z0-9_-]{{1,{_MAX_NAME}}}")
# The only Vietnamese letters that are no plain letter with marks.
_PLAIN_D = str.maketrans("Đđ", "Dd")


def response_format(answer: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` of a request whose answer must match the model (OpenAI's structured output)."""
    schema = _schema(answer, "validation")
    return {"type": "json_schema", "json_schema": {"name": _schema_name(answer.__name__), "schema": schema}}


def schema_wish(answer: type[BaseModel]) -> str:
    """The same as an instruction in words, for an API without JSON schemas."""
    schema = json.dumps(_schema(answer, "validation"), ensure_ascii=False)
    return f"Answer with one JSON object that matches this JSON schema, and with nothing else:\n{schema}"


def _schema_name(name: str) -> str:
    """A model's name as servers accept it for a schema.

    A name that they accept stays as it is: another one would be another request. Any other is spelled in plain letters
    and ends with a hash, so that `Page[A]` and `Page_A`, or two long names, do not become one.
    """
    if _VALID_NAME.fullmatch(name):
        return name
    name = unicodedata.normalize("NFC", name)
    letters = unicodedata.normalize("NFKD", name.translate(_PLAIN_D)).encode("ascii", "ignore").decode()
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
    words = re.sub(r"[^a-zA-Z0-9]+", "_", letters).strip("_")[: _MAX_NAME - len(digest) - 1].rstrip("_")
    return f"{words or 'Answer'}_{digest}"


def _schema(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    try:
        return model.model_json_schema(mode=mode)
    except PydanticInvalidForJsonSchema as error:
        raise ConfigError(
            f"answer model {model.__name__}: a field has no JSON schema ({error.message}); change its type"
        ) from None
