"""ApiProfile: what the client sends, and how. What it accepts is tolerant and needs no setting."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from greennode_batch.errors import ConfigError

LineFormat = Literal["custom_id+body", "custom_id+method+url+body"]
ListStyle = Literal["cursor", "page", "none"]
CancelStyle = Literal["post", "delete", "none"]
DeleteStyle = Literal["delete", "none"]
ResultStyle = Literal["file", "results", "url"]
TokenParameter = Literal["max_tokens", "max_completion_tokens"]
JsonSchemaSupport = Literal["native", "prompt"]

# Our own cap lies below the API's: a proxy may count the multipart frame, and a limit written as MB is at
# times meant as MiB and at times not.
DEFAULT_MAX_FILE_BYTES = 95_000_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ApiProfile:
    """Everything that the client sends or that decides how it sends. The default is GreenNode's.

    GreenNode's wire format is only partly public; what is not takes OpenAI's shape here, and
    `greennode-batch probe` finds out the rest.
    """

    name: str = "greennode"

    # Paths, below the base URL.
    upload_path: str = "/files"
    files_path: str = "/files"
    file_path: str = "/files/{file_id}"
    content_path: str = "/files/{file_id}/content"
    batches_path: str = "/batches"
    batch_path: str = "/batches/{batch_id}"
    cancel_path: str = "/batches/{batch_id}/cancel"
    results_path: str = "/batches/{batch_id}/results"
    models_path: str = "/models"
    chat_path: str = "/chat/completions"

    # Upload. In the values of `upload_fields`, {filename} stands for the file's name.
    purpose: str | None = "batch"
    upload_fields: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    line_format: LineFormat = "custom_id+body"

    # Create. None leaves a field out.
    input_file_field: str = "input_file_id"
    input_file_as_list: bool = False
    endpoint: str | None = "/v1/chat/completions"
    completion_window: str | None = "24h"
    metadata: bool = True
    model_in_create: bool = False
    create_fields: dict[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    # Lists: "cursor" sends after/limit, "page" sends page and size, "none" asks once for everything.
    can_list_batches: bool = True
    list_style: ListStyle = "cursor"
    page_parameter: str = "page"
    size_parameter: str = "page_size"
    first_page: int = 1

    cancel_style: CancelStyle = "post"
    delete_style: DeleteStyle = "delete"
    # "file": the file's content; "results": all lines at results_path; "url": content_path answers {"url": ...}.
    result_style: ResultStyle = "file"

    # Requests.
    token_parameter: TokenParameter = "max_tokens"  # noqa: S105 - the name of a parameter, not a secret
    json_schema: JsonSchemaSupport = "native"
    max_requests: int = 50_000
    max_file_bytes: int = DEFAULT_MAX_FILE_BYTES
    extra_headers: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse paths and limits that cannot work."""
        for field in dataclasses.fields(self):
            if field.name.endswith("_path") and not getattr(self, field.name).startswith("/"):
                raise ConfigError(f"profile {self.name!r}: {field.name} must start with '/', below the base URL")
        if self.max_requests < 1 or self.max_file_bytes < 1:
            raise ConfigError(f"profile {self.name!r}: max_requests and max_file_bytes must be at least 1")

    @classmethod
    def from_extra(cls, extra: Mapping[str, Any]) -> "ApiProfile":
        """A preset (`profile`, or `greennode`) with the other entries laid over it.

        Values may be text, as form fields give them. ConfigError names an unknown field or a wrong type.
        """
        overrides = dict(extra)
        preset_name = overrides.pop("profile", None) or "greennode"
        preset = PRESETS.get(preset_name) if isinstance(preset_name, str) else None
        if preset is None:
            raise ConfigError(f"profile {preset_name!r} is not known; choose one of {', '.join(PRESETS)}")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in overrides:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"fields are {', '.join(known)}"
                raise ConfigError(f"profile {preset_name!r} has no field {name!r}; {hint}")
        try:
            return msgspec.convert({**dataclasses.asdict(preset), **overrides}, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"profile {preset_name!r}: {error}") from None


PRESETS: dict[str, ApiProfile] = {
    # GreenNode's help article "Batch Inference" (helpdesk.greennode.ai) shows the lines, the endpoint, one model
    # a file, 50,000 requests and 100 MB. All else is not public and takes OpenAI's shape: a guess until probed.
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
