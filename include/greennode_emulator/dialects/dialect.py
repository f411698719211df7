"""The fields of a dialect. The defaults are OpenAI's."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from greennode_emulator.dialects import reply_shapes
from greennode_emulator.dialects.creates import CreateBody, OpenAICreate
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import Body, error_object
from greennode_emulator.faults.kinds import AnyFault
from greennode_emulator.records import BatchRecord, FileRecord, Phase
from greennode_emulator.refusals import RefusedError

Reply = dict[str, Any]
Route = tuple[str, str]

# The defaults of every dialect, in OpenAI's form.
_COMMON = frozenset(Endpoint) - {
    Endpoint.BATCH_RESULTS,
    Endpoint.COMMIT_FILE,
    Endpoint.DELETE_BATCH,
    Endpoint.DOWNLOAD,
    Endpoint.FILE_URL,
    Endpoint.STORE,
}


ResultForm = Literal["lines", "array", "wrapped", "zip"]


@dataclass(frozen=True, kw_only=True)
class Paging:
    """How a list is requested: by cursor (`after`, `limit`), by page, or whole; and what it shows of itself."""

    style: Literal["cursor", "page", "none"] = "cursor"
    page: str = "page"
    size: str = "limit"
    first: int = 1
    show: Literal["all", "first_page", "nothing"] = "all"


@dataclass(frozen=True, kw_only=True)
class SignedUpload:
    """An upload by URL: a first call names the file, a PUT sends its bytes.

    `filename` is the field of the first call that names the file, `url` the dotted path of the URL in its reply.
    `elsewhere`: the URL has another origin. `commit`: a third call, COMMIT_FILE, ends the upload.
    """

    filename: str = "filename"
    url: str = "upload_url"
    elsewhere: bool = True
    commit: bool = False


@dataclass(frozen=True)
class Page:
    """One page of a list, as a dialect receives it. `number` counts as the client does."""

    items: Sequence[Reply]
    has_more: bool = False
    number: int = 0
    size: int = 0
    total: int = 0


def routes(moved: Mapping[Endpoint, Route | None] | None = None) -> Mapping[Endpoint, Route]:
    """OpenAI's paths, some moved or added; None removes one."""
    own: dict[Endpoint, Route | None] = {endpoint: own_route(endpoint) for endpoint in Endpoint if endpoint in _COMMON}
    return {endpoint: route for endpoint, route in (own | dict(moved or {})).items() if route is not None}


def own_route(endpoint: Endpoint) -> Route:
    """The method and path that an endpoint is named after."""
    method, _, path = endpoint.value.partition(" ")
    return method, path


def uuid_from(text: str) -> str:
    """An id as a UUID, from any text."""
    return str(uuid.UUID(blake2b(text.encode(), digest_size=16).hexdigest()))


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One kind of server. `routes`: the method and the path below `prefix` of each operation."""

    name: str
    description: str = ""
    """The unusual features, if no page documents them."""
    prefix: str = "/v1"
    routes: Mapping[Endpoint, Route] = field(default_factory=routes)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those of every reply."""
    key_header: str = "Authorization: Bearer {key}"
    """The header that has to carry the key."""
    faults: tuple[AnyFault, ...] = ()
    """Faults that always happen, after those that are armed."""

    # Files.
    upload_purposes: frozenset[str] = frozenset({"batch"})
    """Empty: the purpose is not checked."""
    upload_status: int = 200
    file_id: Callable[[str], str] = reply_shapes.file_id
    """From 24 hexadecimal digits."""
    file_reply: Callable[[FileRecord], Reply] = reply_shapes.file_reply
    upload_reply: Callable[[Reply], Reply] = reply_shapes.bare
    file_get_reply: Callable[[Reply], Reply] = reply_shapes.bare
    signed_upload: SignedUpload | None = None
    """In place of a form."""
    line_form: Literal["any", "bare", "full"] = "any"
    """Whether lines may, must not or must have `method` and `url`."""
    content: Literal["bytes", "redirect", "url"] = "bytes"
    """What FILE_CONTENT returns: the bytes, a redirect to them, or `content_url`."""
    content_elsewhere: bool = True
    """Whether a redirect or a URL leads to another origin."""
    content_url: Callable[[str], Reply] = reply_shapes.url_reply
    content_gzip: Literal["no", "declared", "undeclared"] = "no"
    content_form: ResultForm = "lines"
    """What a result file is: its lines, one JSON array of them, the array in a wrapper, or a ZIP archive."""

    # Batches.
    create_body: type[CreateBody] = OpenAICreate
    batch_endpoints: frozenset[str] = frozenset({"/v1/chat/completions"})
    completion_windows: frozenset[str] = frozenset({"24h"})
    create_status: int = 200
    batch_id: Callable[[str], str] = reply_shapes.batch_id
    words: Mapping[Phase, str] = field(default_factory=lambda: {phase: phase.value for phase in Phase})
    batch_reply: Callable[[BatchRecord, str], Reply] = reply_shapes.batch_reply
    """From the batch and its status word."""
    create_reply: Callable[[Reply], Reply] = reply_shapes.bare
    get_reply: Callable[[Reply], Reply] = reply_shapes.bare
    """The reply to a poll of a batch, and to its cancel."""
    ids_early: bool = False
    """Whether the ids of result files show before the files can be read."""

    # Lists.
    paging: Paging = field(default_factory=Paging)
    list_delay_seconds: float = 0.0
    list_reply: Callable[[Page], Any] = reply_shapes.list_reply
    file_list_reply: Callable[[Page], Any] | None = None
    model_list_reply: Callable[[Page], Any] = reply_shapes.list_reply
    model_reply: Callable[[str], Reply] = reply_shapes.model_reply

    # Deletion; a reply of None is no body at all.
    deleted_status: int = 200
    deleted_reply: Callable[[str, str], Reply | None] = reply_shapes.deleted_reply
    gone_status: int = 404

    # Errors.
    error_reply: Callable[[RefusedError], Body] = error_object
    statuses: Mapping[int, int] = field(default_factory=dict)
    """HTTP statuses that replace the usual ones."""

    # Result lines, from OpenAI's chat completion.
    result_line: Callable[[str, str, Reply], Reply] = reply_shapes.result_line
    error_line: Callable[[str, str, RefusedError], Reply] = reply_shapes.error_line
    merged_line: Callable[[Reply], Reply] = reply_shapes.bare
    """From a line of a result file to one of BATCH_RESULTS."""
    shown_line: Callable[[Reply], Reply] = reply_shapes.bare
    """From a line with `custom_id`, `response` and `error` to the line in the file."""
