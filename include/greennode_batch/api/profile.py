"""ApiProfile: the request format of one kind of server, and where replies hold what lenient parsing does not find."""

import dataclasses
import difflib
import re
from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from greennode_batch.api.status import BatchStatus
from greennode_batch.errors import ConfigError

LineFormat = Literal["custom_id+body", "custom_id+method+url+body"]
ListStyle = Literal["cursor", "page", "none"]
CancelStyle = Literal["post", "delete", "none"]
DeleteStyle = Literal["delete", "none"]
ResultStyle = Literal["file", "results", "url"]
TokenParameter = Literal["max_tokens", "max_completion_tokens"]
JsonSchemaSupport = Literal["native", "prompt"]
UploadStyle = Literal["form", "presigned"]
InputFileType = Literal["text", "integer"]
MatchBy = Literal["any", "metadata", "file_id"]
ListTrust = Literal["shown", "always", "never"]

BATCH_FIELDS = (
    "id",
    "status",
    "input_file_id",
    "output_file_id",
    "error_file_id",
    "total",
    "completed",
    "failed",
    "created_at",
    "completed_at",
    "expires_at",
    "errors",
    "metadata",
    "model",
)
"""The fields that `batch_fields` may locate."""
FILE_FIELDS = (
    "id",
    "bytes",
    "filename",
    "purpose",
    "status",
    "created_at",
    "url",
    "upload_url",
    "upload_headers",
    "upload_form",
    "committed_id",
)
"""The fields that `file_fields` may locate."""
RESULT_LINE_FIELDS = (
    "custom_id",
    "status_code",
    "request_id",
    "body",
    "error",
    "content",
    "reasoning",
    "finish_reason",
    "model",
    "prompt_tokens",
    "completion_tokens",
)
"""The fields that `result_fields` may locate."""

# Our limit is below the API's: a proxy may count the multipart frame, and some limits written as MB mean MiB,
# others do not.
DEFAULT_MAX_FILE_BYTES = 95_000_000

_PATHS_WITH_METHOD = ("upload_path", "upload_commit_path", "create_path", "cancel_path")
_METHOD_AND_PATH = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/.*)")
_KEY_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([ -z|~]*\{key\}[ -z|~]*)")


def route(path: str) -> tuple[str, str]:
    """The method and the path of a call that changes something: POST, if no other stands before the path."""
    match = _METHOD_AND_PATH.fullmatch(path)
    return ("POST", path) if match is None else (match[1], match[2])


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ApiProfile:
    """The format of all requests, and what lenient parsing of replies cannot know. The default is GreenNode's.

    GreenNode's wire format is only partly public; the rest follows OpenAI's format here, and `greennode-batch probe`
    finds out what a server really uses.
    """

    name: str = "greennode"
    """For messages. Choose a preset with `profile`, not with this."""

    base_url_version: bool = True
    """Whether the base URL has to end in a version such as `/v1`. false for a server whose address has none."""

    # Paths, below the base URL.
    upload_path: str = "/files"
    """Where a file is uploaded to. All paths are below the base URL. Where a presigned upload begins with a GET, as
    `GET /files/upload-url`, the fields go into its query."""
    files_path: str = "/files"
    """The list of files."""
    file_path: str = "/files/{file_id}"
    """One file: GET for its metadata, DELETE to remove it."""
    content_path: str = "/files/{file_id}/content"
    """The content of a file."""
    batches_path: str = "/batches"
    """GET lists the batches; POST creates one, if there is no `create_path`."""
    create_path: str | None = None
    """Where a batch is created, if not at `batches_path`; by a POST, or by the method that stands before the path."""
    batch_path: str = "/batches/{batch_id}"
    """One batch."""
    cancel_path: str = "/batches/{batch_id}/cancel"
    """Where a cancel is posted to, if `cancel_style` is `post`. Another method stands before the path, as
    `PUT /batches/{batch_id}/cancel`."""
    results_path: str = "/batches/{batch_id}/results"
    """All results of a batch, if `result_style` is `results`."""
    models_path: str = "/models"
    """The list of models."""
    chat_path: str = "/chat/completions"
    """Chat in real time."""

    # Upload.
    purpose: str | None = "batch"
    """The `purpose` of an upload. null leaves it out."""
    upload_fields: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """More form fields of an upload. In a value, `{filename}` stands for the file's name, `{bytes}` for its size (a
    number where JSON is sent), `{md5}`, `{sha256}` and `{content_md5}` for checksums of its content: two in
    hexadecimal, the last as a Content-MD5 header has it."""
    upload_style: UploadStyle = "form"
    """`form`: one multipart request. `presigned`: JSON of `purpose` and `upload_fields`, then a PUT to the URL in
    the reply, or a form of the fields that it names; another host never gets the key."""
    upload_commit_path: str | None = None
    """Where a presigned upload is ended with a POST, as `/files/{file_id}/complete`, or with the method that stands
    before the path. If the reply names the file by another id, that is its id."""
    upload_headers: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """Headers of a presigned upload's PUT, beside those that the reply names; values as in `upload_fields`."""
    line_format: LineFormat = "custom_id+body"
    """The fields of a request line: `custom_id+body`, or `custom_id+method+url+body`."""

    # Create. None leaves a field out.
    input_file_field: str = "input_file_id"
    """The field of a create that names the file."""
    input_file_as_list: bool = False
    """Whether that field is a list."""
    input_file_type: InputFileType = "text"
    """`text` or `integer`: how the create writes the file's id."""
    endpoint: str | None = "/v1/chat/completions"
    """The `endpoint` of a create, and the `url` of a line. null leaves it out of a create."""
    completion_window: str | None = "24h"
    """The `completion_window` of a create. null leaves it out."""
    metadata: bool = True
    """Whether a create may carry `metadata`."""
    metadata_field: str = "metadata"
    """The field of a create that takes the metadata."""
    model_in_create: bool = False
    """Whether a create names the model."""
    create_fields: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    """More fields of a create."""

    # Lists.
    can_list_batches: bool = True
    """Whether there is a list of batches. Without it, a create of unknown outcome stops the job."""
    list_style: ListStyle = "cursor"
    """`cursor` sends `limit` and `after`; `page` sends a page number and a size; `none` asks once."""
    page_parameter: str = "page"
    """The name of the page number, for `page`."""
    size_parameter: str = "page_size"
    """The name of the page size, for `page`."""
    first_page: int = 1
    """The number of the first page, for `page`."""
    match_by: MatchBy = "any"
    """How a batch is found again: by our mark in its `metadata`, by its `file_id`, or by `any` of the two."""
    list_trust: ListTrust = "shown"
    """Whether an empty list says that no batch is there: `shown`: once this list has shown any batch; `always`;
    `never`."""
    check_models: bool = True
    """Whether a job's models are looked up in the list of models before anything is sent."""

    cancel_style: CancelStyle = "post"
    """`post` to `cancel_path`; `delete` on `batch_path`; `none`."""
    delete_style: DeleteStyle = "delete"
    """`delete` on `batch_path`; `none`."""
    result_style: ResultStyle = "file"
    """`file`: the file's content; `results`: all lines at `results_path`; `url`: `content_path` answers with a URL
    in JSON."""

    # Replies. They are parsed leniently; these fields add what that does not find.
    status_words: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """What words of the server mean: `{"PARTIAL": "completed"}`."""
    batch_fields: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """Where a batch has what is not found by a usual name, as dotted paths: `{"output_file_id": "outputs.0.key"}`."""
    file_fields: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """The same for a file; `upload_url` and `url` are where replies name the places of its bytes, `upload_headers`,
    `upload_form` and `committed_id` what belongs to a presigned upload."""
    result_fields: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """The same for a result line: `{"custom_id": "reference", "body": "output"}`; or `content` where there is no
    chat completion."""

    # Requests.
    token_parameter: TokenParameter = "max_tokens"  # noqa: S105 - the name of a parameter, not a secret
    """`max_tokens` or `max_completion_tokens`."""
    json_schema: JsonSchemaSupport = "native"
    """`native` sends an answer model as `response_format`; `prompt` writes it into the prompt."""
    max_requests: int = 50_000
    """Most lines in a file."""
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES
    """Most bytes in a file."""
    key_header: str = "Authorization: Bearer {key}"
    """The header that carries the API key, as `apikey: {key}` or `X-Api-Key: {key}`. It is not sent to other hosts."""
    extra_headers: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    """Headers of every call to the API. They are not sent to other hosts."""

    def __post_init__(self) -> None:
        """Refuse paths, words and limits that cannot work."""
        for field in dataclasses.fields(self):
            path = getattr(self, field.name) if field.name.endswith("_path") else None
            if path is None or path.startswith("/"):
                continue
            if field.name not in _PATHS_WITH_METHOD:
                raise ConfigError(f"profile {self.name!r}: {field.name} must start with '/', below the base URL")
            if _METHOD_AND_PATH.fullmatch(path) is None:
                raise ConfigError(
                    f"profile {self.name!r}: {field.name} must start with '/', below the base URL, or with a method "
                    "before that, as 'PUT /path'"
                )
        if _KEY_HEADER.fullmatch(self.key_header) is None:
            raise ConfigError(
                f"profile {self.name!r}: key_header must be a header with {{key}} in the place of the API key, as "
                "'Authorization: Bearer {key}' or 'X-Api-Key: {key}'"
            )
        if self.max_requests < 1 or self.max_file_bytes < 1:
            raise ConfigError(f"profile {self.name!r}: max_requests and max_file_bytes must be at least 1")
        self._check_paths("batch_fields", BATCH_FIELDS)
        self._check_paths("file_fields", FILE_FIELDS)
        self._check_paths("result_fields", RESULT_LINE_FIELDS)
        ours = [status.value for status in BatchStatus if status is not BatchStatus.UNKNOWN]
        for word, status in self.status_words.items():
            if status not in ours:
                raise ConfigError(
                    f"profile {self.name!r}: status_words maps {word!r} to {status!r}; "
                    f"the meanings are {', '.join(ours)}"
                )
        if self.match_by == "metadata" and not self.metadata:
            raise ConfigError(f"profile {self.name!r}: match_by is 'metadata', and metadata is not sent")

    def _check_paths(self, name: str, known: Collection[str]) -> None:
        for field, path in getattr(self, name).items():
            if field not in known:
                raise ConfigError(
                    f"profile {self.name!r}: {name} has no field {field!r}; it can locate {', '.join(known)}"
                )
            if not all(path.split(".")):
                raise ConfigError(
                    f"profile {self.name!r}: {name} has {path!r} for {field}; write a dotted path, such as data.{field}"
                )

    @property
    def key_header_parts(self) -> tuple[str, str]:
        """The name of the key's header in lower case, and its value with `{key}` for the key."""
        name, _, value = self.key_header.partition(":")
        return name.lower(), value.strip()

    @classmethod
    def from_extra(cls, extra: Mapping[str, Any]) -> "ApiProfile":
        """A preset (`profile`, or `greennode`) with the other entries on top.

        Values may be text, as form fields hold them. Raises ConfigError for an unknown field or a wrong type.
        """
        overrides = dict(extra)
        preset_name = overrides.pop("profile", None) or "greennode"
        preset = PRESETS.get(preset_name) if isinstance(preset_name, str) else None
        if preset is None:
            raise ConfigError(f"unknown profile {preset_name!r}; choose one of {', '.join(PRESETS)}")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in overrides:
            if name not in known:
                near = difflib.get_close_matches(str(name), ["profile", *known], n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"fields are {', '.join(known)}"
                raise ConfigError(f"profile {preset_name!r} has no field {name!r}; {hint}")
        try:
            return msgspec.convert({**dataclasses.asdict(preset), **overrides}, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"profile {preset_name!r}: {error}") from None


PRESETS: dict[str, ApiProfile] = {
    # GreenNode's help article "Batch Inference" (helpdesk.greennode.ai) shows the lines, the endpoint, one model
    # a file, 50,000 requests and 100 MB. The rest is not public and follows OpenAI's format: a guess until probed.
    "greennode": ApiProfile(),
    # platform.openai.com/docs/api-reference/batch: 50,000 requests, 200 MB, metadata, after/limit, POST cancel,
    # no delete. Reasoning models refuse max_tokens, so the newer name is sent.
    "openai": ApiProfile(
        name="openai",
        line_format="custom_id+method+url+body",
        delete_style="none",
        token_parameter="max_completion_tokens",  # noqa: S106 - the name of a parameter, not a secret
        max_file_bytes=190_000_000,
    ),
    # docs.together.ai/reference/upload-file (POST /files/upload, purpose batch-api, file_name, file_type),
    # /reference/batch-create, /docs/inference/batch/overview (50,000 requests, 100 MB, window fixed at 24h);
    # togethercomputer/together-python resources/batch.py (create wrapped in `job`, list a bare array without
    # paging, no metadata). POST .../cancel, 409 once it has ended: another repository's table, which cites
    # docs.together.ai/reference/batch-cancel. Delete is not documented.
    "together": ApiProfile(
        name="together",
        upload_path="/files/upload",
        purpose="batch-api",
        upload_fields={"file_name": "{filename}", "file_type": "jsonl"},
        metadata=False,
        list_style="none",
        delete_style="none",
    ),
    # novita.ai/docs: api-reference/model-apis-llm-create-batch, -list-batches, -upload-batch-input-file and
    # guides/llm-batch-api; base URL https://api.novita.ai/openai/v1. The window is fixed (24h or 48h, by page),
    # so it is left out. Its list takes no parameters. Unverified: the limits, delete.
    "novita": ApiProfile(
        name="novita",
        completion_window=None,
        metadata=False,
        list_style="none",
        delete_style="none",
    ),
    # mistralai/client-python docs/sdks/mistraljobs (POST /v1/batch/jobs with input_files, endpoint, model,
    # timeout_hours, metadata; list by page and page_size from page 0) and docs.mistral.ai/capabilities/batch
    # (lines without method and url); mistral-openapi-client has DELETE on a job. Unverified: the file's limit in bytes.
    "mistral": ApiProfile(
        name="mistral",
        batches_path="/batch/jobs",
        batch_path="/batch/jobs/{batch_id}",
        cancel_path="/batch/jobs/{batch_id}/cancel",
        input_file_field="input_files",
        input_file_as_list=True,
        completion_window=None,
        model_in_create=True,
        create_fields={"timeout_hours": 24},
        list_style="page",
        first_page=0,
    ),
    # docs.siliconflow.cn: userguide/guides/batch (lines with method and url, 5,000 lines, 1 GB, one model a file)
    # and api-reference/batch (POST /files with purpose batch, POST /batches, get-batch-list with after and limit).
    # Unverified: cancel, delete.
    "siliconflow": ApiProfile(
        name="siliconflow",
        line_format="custom_id+method+url+body",
        delete_style="none",
        max_requests=5_000,
        max_file_bytes=950_000_000,
    ),
    # doublewordai/dw crates/dw-client (endpoints and types of files and batches): OpenAI's shape, metadata,
    # after/limit, POST cancel; doublewordai/control-layer batches.rs: DELETE answers 204 and keeps the input file,
    # also while a batch runs. Unverified: the limits.
    "doubleword": ApiProfile(
        name="doubleword",
        line_format="custom_id+method+url+body",
    ),
    # inference-docs.cerebras.ai: api-reference/batch/create-batch (50,000 requests, 200 MB, metadata, window 24h
    # only), /cancel-batch (DELETE on the batch cancels it, so nothing deletes one) and capabilities/batch (lines
    # with method and url; at least 10 requests a file, by the same page). Unverified: paging.
    "cerebras": ApiProfile(
        name="cerebras",
        line_format="custom_id+method+url+body",
        cancel_style="delete",
        delete_style="none",
        max_file_bytes=190_000_000,
    ),
}
