"""JSON replies, in any of their variants -> Batch, RemoteFile, Model, Page. Pure functions, no I/O."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from greennode_batch.api.error_body import describe, shorten
from greennode_batch.api.fields import at, camel, count, epoch_seconds, identifier, pick, text
from greennode_batch.api.status import BatchStatus, batch_status

__all__ = [
    "Batch",
    "BatchStatus",
    "Counts",
    "Model",
    "Page",
    "RemoteFile",
    "WireError",
    "paging_of",
    "parse_batch",
    "parse_committed_id",
    "parse_file",
    "parse_model",
    "parse_page",
    "parse_upload_form",
    "parse_upload_headers",
    "parse_upload_method",
    "parse_upload_url",
    "parse_url",
    "reply_object",
]

Item = TypeVar("Item")

_WRAPPERS = ("job", "data", "batch", "result", "file")
_LISTS = (
    "data",
    "items",
    "value",
    "list_data",
    "batches",
    "jobs",
    "files",
    "models",
    "records",
    "list",
    "results",
    "result",
)
# What stands beside the entries of a list, and beside nothing else.
_TOTALS = ("total", "total_count", "total_item", "total_items", "total_elements")
_PAGES = ("total_page", "total_pages", "page_count")
_OF_PAGES = (*_TOTALS, *_PAGES, "has_more", "has_next", "page", "page_num", "page_no", "page_size")
_NOT_LISTS = frozenset({"error", "errors", "detail", "details", "warnings", "messages"})
_PAGINGS = ("pagination", "paging", "page_info", "meta")
_ID_FIELDS = ("id", "batch_id", "job_id", "task_id", "file_id", "uuid")
_STATUS_FIELDS = ("status", "state", "batch_status", "job_status", "task_status", "job_state", "task_state")
_URL_FIELDS = ("url", "download_url", "signed_url", "file_url", "href")
_UPLOAD_URL_FIELDS = ("upload_url", "put_url", "presigned_url", *_URL_FIELDS)
_HEADER_FIELDS = ("headers", "upload_headers", "required_headers", "signed_headers")
_FORM_FIELDS = ("fields", "form_fields", "form_data", "upload_fields")
_METHOD_FIELDS = ("method", "http_method", "upload_method")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# These are of the connection, or of how a body is sent.
_OWN_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding", "expect", "te", "upgrade"})
_END_FIELDS = ("completed_at", "ended_at", "finished_at", "failed_at", "expired_at", "cancelled_at", "end_time")
_MAX_WRAPS = 3


class WireError(ValueError):
    """A reply without the expected content; the message says what it holds instead."""


class Counts(msgspec.Struct, frozen=True):
    """The requests of a batch, as the server counts them; 0 if it does not.

    For display only. The sums need not add up and may stay 0 for a while: never decide by them that a batch is done.
    """

    total: int = 0
    completed: int = 0
    failed: int = 0

    def __str__(self) -> str:
        return f"{self.completed:,} of {self.total:,} done, {self.failed:,} failed"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. Times are epoch seconds; a file id is None if there is no file."""

    id: str
    status: BatchStatus
    raw_status: str = ""
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    counts: Counts = Counts()
    created_at: float | None = None
    completed_at: float | None = None
    expires_at: float | None = None
    errors: tuple[str, ...] = ()
    error_codes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = {}
    model: str | None = None


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file in the API's store; `bytes` is its size there, None if the API does not give it."""

    id: str
    bytes: int | None = None
    filename: str | None = None
    purpose: str | None = None
    status: str | None = None
    created_at: float | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the list; GreenNode's `status` and `model_type` may be None."""

    id: str
    status: str | None = None
    model_type: str | None = None


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page of a list. `has_more`, and the sizes of the whole list, are None if the server does not give them.

    entries: how many the page has, including those of others. total, pages: entries and pages of the list.
    """

    items: tuple[Item, ...]
    has_more: bool | None = None
    next_cursor: str | None = None
    entries: int = 0
    total: int | None = None
    pages: int | None = None


def reply_object(data: object) -> dict[str, Any] | None:
    """The object with an id, taken out of up to three wrappers; None if there is none."""
    for _ in range(_MAX_WRAPS):
        if not isinstance(data, dict):
            return None
        if identifier(pick(data, *_ID_FIELDS)) is not None:
            return data
        data = next((data[name] for name in _WRAPPERS if isinstance(data.get(name), dict)), None) or _only_one(data)
    return None


def _only_one(data: dict[str, Any]) -> dict[str, Any] | None:
    """The only object with an id inside an object, under any name: {"dataset": {"id": 7}, "upload": {...}}."""
    if pick(data, "status", "state") is not None:
        return None
    found = [value for name, value in data.items() if name != "error" and isinstance(value, dict)]
    found = [value for value in found if identifier(pick(value, *_ID_FIELDS)) is not None]
    return found[0] if len(found) == 1 else None


class _Reply(NamedTuple):
    """A reply in the wrapper that paths start from, its object without wrappers, and a profile's paths of fields."""

    whole: object
    obj: dict[str, Any]
    paths: Mapping[str, str]

    def get(self, field: str, *names: str) -> Any:
        """The value at the profile's path, below the object or the whole reply; else the first of the usual names."""
        path = self.paths.get(field)
        if path is None:
            return pick(self.obj, *names)
        found = at(self.obj, path)
        return at(self.whole, path) if found is None else found


def _read_reply(data: object, paths: Mapping[str, str] | None) -> _Reply | None:
    """The object of a reply, by the profile's path to its id, or else by any usual name of an id."""
    paths = paths or {}
    parent, _, name = paths.get("id", "").rpartition(".")
    level: object = data
    for _ in range(_MAX_WRAPS if name else 0):
        holder = at(level, parent) if parent else level
        found = holder.get(name) if isinstance(holder, dict) else None
        # A reply to a create may be the id alone, where another has the batch, with ids of more than itself.
        own = pick(found, "id") if isinstance(found, dict) else found
        if isinstance(holder, dict) and identifier(own) is not None:
            return _Reply(level, {**holder, "id": own}, {**paths, "id": "id"})
        level = _inside(level)
    obj = reply_object(data)
    return None if obj is None else _Reply(data, obj, {field: path for field, path in paths.items() if field != "id"})


def _inside(data: object) -> object:
    """What is in a wrapper, by its name, or for it is the only object there."""
    if not isinstance(data, dict):
        return None
    objects = [value for name, value in data.items() if isinstance(value, dict) and name != "error"]
    return next((data[name] for name in _WRAPPERS if data.get(name)), objects[0] if len(objects) == 1 else None)


def parse_batch(
    data: object,
    *,
    default_id: str | None = None,
    paths: Mapping[str, str] | None = None,
    words: Mapping[str, str] | None = None,
) -> Batch:
    """A batch from a reply, bare or wrapped. `default_id` applies if the reply has a status but no id.

    paths, words: a profile's `batch_fields` and `status_words`.
    """
    reply = _read_reply(data, paths)
    if reply is None and default_id is not None and isinstance(data, dict):
        bare = _Reply(data, data, {**(paths or {}), "id": "id"})
        reply = bare if bare.get("status", *_STATUS_FIELDS) else None
    batch_id = None if reply is None else identifier(reply.get("id", *_ID_FIELDS)) or default_id
    if reply is None or batch_id is None:
        raise WireError(_complaint("a batch", data))
    raw_status = text(reply.get("status", *_STATUS_FIELDS)) or ""
    errors, codes = _batch_errors(reply)
    metadata = reply.get("metadata", "metadata")
    return Batch(
        id=batch_id,
        status=batch_status(raw_status, words),
        raw_status=raw_status,
        input_file_id=identifier(
            reply.get("input_file_id", "input_file_id", "input_file", "input_files", "input_file_ids")
        ),
        output_file_id=identifier(
            reply.get("output_file_id", "output_file_id", "output_file", "result_file_id", "result_file", "output_url")
        ),
        error_file_id=identifier(reply.get("error_file_id", "error_file_id", "error_file", "error_url")),
        counts=_counts(reply),
        # Ages are counted from this time: a time that may be hours off is not used.
        created_at=epoch_seconds(reply.get("created_at", "created_at", "create_time", "created"), is_sure=True),
        completed_at=epoch_seconds(reply.get("completed_at", *_END_FIELDS)),
        expires_at=epoch_seconds(reply.get("expires_at", "expires_at", "job_deadline", "deadline", "expire_time")),
        errors=errors,
        error_codes=codes,
        metadata={str(k): v if isinstance(v, str) else str(v) for k, v in metadata.items()}
        if isinstance(metadata, dict)
        else {},
        model=text(reply.get("model", "model", "model_id")),
    )


def parse_file(data: object, *, paths: Mapping[str, str] | None = None) -> RemoteFile:
    """A file's metadata from a reply, bare or wrapped. paths: a profile's `file_fields`."""
    reply = _read_reply(data, paths)
    if reply is None:
        raise WireError(_complaint("a file", data))
    return RemoteFile(
        id=identifier(reply.get("id", "id", "file_id", "uuid")) or "",
        bytes=count(reply.get("bytes", "bytes", "size_bytes", "size", "file_size", "file_size_bytes")),
        filename=text(reply.get("filename", "filename", "file_name", "name")),
        purpose=text(reply.get("purpose", "purpose")),
        status=text(reply.get("status", "status", "state")),
        created_at=epoch_seconds(reply.get("created_at", "created_at", "create_time", "created")),
    )


def parse_model(data: object) -> Model:
    """An entry of the list of models: an object, or the id alone."""
    obj = {"id": data} if isinstance(data, str) else data
    model_id = identifier(pick(obj, "id", "model_id", "model", "name")) if isinstance(obj, dict) else None
    if model_id is None or not isinstance(obj, dict):
        raise WireError(_complaint("a model", data))
    return Model(id=model_id, status=text(obj.get("status")), model_type=text(pick(obj, "model_type", "type")))


def parse_url(data: object, *, path: str | None = None) -> str:
    """The URL of a file, from a reply that holds it as text or in an object. path: from a profile."""
    if path is not None:
        data = at(data, path)
    for _ in range(_MAX_WRAPS):
        found = data if isinstance(data, str) else pick(data, *_URL_FIELDS) if isinstance(data, dict) else None
        if _is_url(found):
            return str(found)
        data = next((data[name] for name in _WRAPPERS if data.get(name)), None) if isinstance(data, dict) else None
    raise WireError(_complaint("the URL of a file", data))


def parse_upload_url(data: object, *, path: str | None = None) -> str:
    """Where the bytes of a file go, from the reply that begins its upload. path: where, in a profile."""
    found = [at(data, path)] if path is not None else _below(data, _UPLOAD_URL_FIELDS)
    url = next(filter(_is_url, found), None)
    if url is None:
        raise WireError(_complaint("the URL for an upload", data))
    return str(url)


def _is_url(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def parse_upload_headers(data: object, *, path: str | None = None) -> dict[str, str]:
    """Headers that a signed upload has to be sent with, from the reply that names its URL; empty where it has none.

    path: where, in a profile. What cannot be a header, or is not the server's to choose, is left out.
    """
    places = [at(data, path)] if path is not None else _below(data, _HEADER_FIELDS)
    found: dict[str, Any] = next(filter(None, map(_by_name, places)), {})
    values = {str(name).lower(): text(_only_value(value)) for name, value in found.items()}
    return {
        name: value
        for name, value in values.items()
        if value is not None and value.isascii() and value.isprintable()
        if _HEADER.fullmatch(name) and name not in _OWN_HEADERS
    }


def parse_upload_form(data: object, *, path: str | None = None) -> dict[str, str]:
    """Fields that have to stand before the file in a form, where the bytes go by a POST of one; empty for a PUT.

    path: where, in a profile.
    """
    places = [at(data, path)] if path is not None else _below(data, _FORM_FIELDS)
    values = ({str(name): text(value) for name, value in _by_name(place).items()} for place in places)
    found = next((one for one in values if one and None not in one.values()), {})
    return {name: value for name, value in found.items() if value is not None}


def parse_upload_method(data: object) -> str:
    """How the bytes go to the URL that a reply names: PUT, unless it says POST and names no PUT, of another call."""
    named = {(text(value) or "").upper() for value in _below(data, _METHOD_FIELDS)}
    return "POST" if "POST" in named and "PUT" not in named else "PUT"


def _by_name(place: object) -> dict[str, Any]:
    """Names and values, from an object or from a list of such pairs: [{"name": ..., "value": ...}]."""
    if isinstance(place, dict):
        return place
    pairs = place if isinstance(place, list) and all(isinstance(pair, dict) for pair in place) else []
    return {name: pair["value"] for pair in pairs if (name := text(pick(pair, "name", "key"))) and "value" in pair}


def _only_value(value: object) -> object:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _below(data: object, names: Sequence[str]) -> Iterator[Any]:
    """What has one of these names in an object, or in those within it; what is further out first."""
    level = [data] if isinstance(data, dict) else []
    for _ in range(_MAX_WRAPS):
        yield from (obj[key] for obj in level for name in names for key in {name: 0, camel(name): 0} if key in obj)
        level = [value for obj in level for value in obj.values() if isinstance(value, dict)]


def parse_committed_id(data: object, *, path: str | None = None) -> str | None:
    """The id of a file, where the reply to the end of its upload names another than the begin did; None: it does not.

    path: where, in a profile. Else it stands beside the upload's own id, as OpenAI's uploads have it.
    """
    if path is not None:
        return identifier(at(data, path))
    obj = reply_object(data)
    return None if obj is None else identifier(pick(obj, "file", "file_id"))


def parse_page(data: object, parse: Callable[[object], Item]) -> Page[Item]:
    """A page of a list: bare array, or under `data`, `items`, `value`, `listData` and so on.

    A reply without a list is a WireError, never an empty page: a caller that searches for a batch that may have been
    paid for must not mistake an error for "not there".
    """
    holder: object = data
    around: dict[str, Any] = {}
    for _ in range(_MAX_WRAPS):
        if isinstance(holder, list):
            return _page(around, holder, parse)
        if not isinstance(holder, dict) or describe(holder.get("error"))[0] is not None:
            break
        found = next((key for name in _LISTS for key in (name, camel(name)) if key in holder), None)
        found = found or _only_list(holder)
        if found is None:
            break
        # Some servers send null for a list without entries (Go's nil slice) and mark it as a list.
        if holder[found] is None and (holder.get("object") == "list" or "has_more" in holder):
            return Page(items=(), has_more=False)
        around = around | holder
        holder = holder[found]
    raise WireError(_complaint("a list", data))


def _only_list(holder: dict[str, Any]) -> str | None:
    """The name of the only list of objects in a reply, or of an empty one beside which its pages are counted.

    Where there is no list, the name of the only object, which may hold it. What has an id is no list.
    """
    if identifier(pick(holder, *_ID_FIELDS)) is not None:
        return None
    found = [name for name, value in holder.items() if isinstance(value, list) and name not in _NOT_LISTS]
    if not found:
        inner = [name for name, value in holder.items() if isinstance(value, dict) and name not in _NOT_LISTS]
        return inner[0] if len(inner) == 1 else None
    if len(found) != 1:
        return None
    entries = holder[found[0]]
    is_list = all(isinstance(entry, dict) for entry in entries) if entries else pick(holder, *_OF_PAGES) is not None
    return found[0] if is_list else None


def _page(around: dict[str, Any], entries: list[Any], parse: Callable[[object], Item]) -> Page[Item]:
    items: list[Item] = []
    odd: WireError | None = None
    for entry in entries:
        try:
            items.append(parse(entry))
        except WireError as error:
            odd = error
    # One odd entry does not hide the others; if all entries are odd, it is not the expected list.
    if odd is not None and not items:
        raise odd
    return paging_of(around, tuple(items), len(entries))


def paging_of(around: dict[str, Any], items: tuple[Item, ...], entries: int) -> Page[Item]:
    """A page of these items, with what stands beside them about the whole list. entries: how many the page has."""
    beside = around | next((around[name] for name in _PAGINGS if isinstance(around.get(name), dict)), {})
    has_more = pick(beside, "has_more", "has_next")
    if isinstance(beside.get("last"), bool):
        has_more = not beside["last"]
    return Page(
        items,
        has_more if isinstance(has_more, bool) else None,
        text(pick(beside, "next_cursor", "next_page_token", "last_id")),
        entries,
        count(pick(beside, *_TOTALS)),
        count(pick(beside, *_PAGES)),
    )


def _counts(reply: _Reply) -> Counts:
    nested = pick(reply.obj, "request_counts", "counts")
    source = reply if not isinstance(nested, dict) else _Reply(reply.obj, nested, reply.paths)
    total = source.get("total", "total", "total_requests", "request_count", "total_count")
    # Mistral's completed_requests includes the failed ones; its succeeded_requests is what others call completed.
    completed = source.get(
        "completed", "succeeded_requests", "succeeded", "completed", "completed_requests", "success_count"
    )
    failed = source.get("failed", "failed", "failed_requests", "errored", "failed_count", "fail_count")
    return Counts(count(total) or 0, count(completed) or 0, count(failed) or 0)


def _batch_errors(reply: _Reply) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every error of a batch as (messages, codes): a list, {"data": [...]}, one object or plain text."""
    errors = reply.get("errors", "errors", "error")
    if isinstance(errors, dict) and isinstance(errors.get("data"), list):
        errors = errors["data"]
    entries = errors if isinstance(errors, list) else [] if errors is None else [errors]
    described = [describe(entry) for entry in entries]
    messages = tuple(message for message, _ in described if message is not None)
    return messages, tuple(dict.fromkeys(code for _, code in described if code is not None))


def _complaint(wanted: str, data: object) -> str:
    message, _ = describe(data)
    if message is not None:
        return f"expected {wanted}, got: {message}"
    kind = f"an object with {sorted(data)[:8]}" if isinstance(data, dict) else type(data).__name__
    return shorten(f"expected {wanted}, got {'no JSON' if data is None else kind}")
