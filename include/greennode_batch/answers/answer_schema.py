"""Answer schema: the JSON schema of an answer model, as a request states it."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema

from greennode_batch.errors import ConfigError


def response_format(answer: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` of a request whose answer must match the model (OpenAI's structured output)."""
    return {"type": "json_schema", "json_schema": {"name": answer.__name__, "schema": _schema(answer, "validation")}}


def schema_wish(answer: type[BaseModel]) -> str:
    """The same as an instruction in words, for an API without JSON schemas."""
    schema = json.dumps(_schema(answer, "validation"), ensure_ascii=False)
    return f"Answer with one JSON object that matches this JSON schema, and with nothing else:\n{schema}"


def _schema(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    try:
        return model.model_json_schema(mode=mode)
    except PydanticInvalidForJsonSchema as error:
        raise ConfigError(
            f"answer model {model.__name__}: a field has no JSON schema ({error.message}); change its type"
        ) from None
