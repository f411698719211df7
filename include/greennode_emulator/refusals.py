"""The one exception for every refused request, independent of a dialect's wording."""

import msgspec


class RefusedError(Exception):
    """A request is refused with an HTTP status and the four fields of an OpenAI error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind


def not_found(what: str, name: str) -> RefusedError:
    """404 for a file or batch id."""
    return RefusedError(404, f"No such {what} object: {name}", param="id")


def model_not_found(model: str) -> RefusedError:
    """404 for a model that is not in the list."""
    return RefusedError(404, f"The model '{model}' does not exist", code="model_not_found", param="model")


def bad_body(error: msgspec.DecodeError) -> RefusedError:
    """400 for JSON that is broken, incomplete or out of range."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return RefusedError(400, f"The body is not valid JSON: {text}", code="invalid_json")
    if "missing required field" in text:
        name = text.split("`")[1]
        return RefusedError(
            400, f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name
        )
    message, _, path = text.partition(" - at `$")
    param = path.strip(".`").partition("[...]")[0] or None
    where = f" for '{param}'" if param else ""
    return RefusedError(400, f"Invalid value{where}: {message}.", code="invalid_value", param=param)
