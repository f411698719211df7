"""Job request: a job's messages and the other fields of its requests, before they are rendered for rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from greennode_batch.answers.answer_schema import response_format, schema_wish
from greennode_batch.api.profile import ApiProfile
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.request.prompt_files import PromptText, names_in, read_prompt
from greennode_batch.request.token_limits import TOKEN_LIMITS

Message = Mapping[str, Any]


class JobRequest(msgspec.Struct, frozen=True):
    """Everything that turns a row into a request.

    Encoded as JSON, it tells whether a job makes the same requests as before.
    """

    messages: list[Message]
    """The messages; their strings are still Jinja, with the files that they include."""
    params: dict[str, Any]
    """The other fields of the body, under the names that the API uses."""
    row_params: dict[str, str]
    """The fields of the body whose values come from columns: the column by field name."""
    line_fields: dict[str, str]
    """What the API requires on a line besides `custom_id` and `body`."""

    @property
    def prompt_hash(self) -> str:
        """A hash of the prompt: the messages with all included files, and the fields that come from columns."""
        said = msgspec.json.encode((self.messages, self.row_params))
        return hashlib.blake2b(said, digest_size=16).hexdigest()

    def names(self, job: BatchJob) -> frozenset[str]:
        """Every name that a row may have to supply: the names in the templates, and the columns of row_params."""
        return message_names(self.messages, prompt_name(job)).union(self.row_params.values())


def job_request(job: BatchJob, profile: ApiProfile) -> JobRequest:
    """Build a job's request. Raises ConfigError for a prompt that is not valid Jinja, or a missing file."""
    return JobRequest(
        messages=chat_messages(job, profile),
        params=request_params(job, profile),
        row_params={_field(name, profile): column for name, column in job.row_params.items()},
        line_fields=line_fields(profile),
    )


def prompt_name(job: BatchJob) -> str:
    """The name of a job's prompts in error messages."""
    return f"prompt of job {job.name}"


def job_messages(job: BatchJob) -> list[Message]:
    """The job's chat messages. Their files are read; their strings are still Jinja."""
    if job.messages is not None:
        return [_read_message(message, prompt_name(job)) for message in job.messages]
    system = [{"role": "system", "content": job.system}] if job.system else []
    messages = [*system, {"role": "user", "content": job.prompt or ""}]
    return [_read_message(message, prompt_name(job)) for message in messages]


def message_names(messages: Any, name: str) -> frozenset[str]:
    """Every name in the strings of the messages. Each may be a column."""
    return frozenset().union(*(names_in(text, name=name) for text in _texts(messages)))


def chat_messages(job: BatchJob, profile: ApiProfile) -> list[Message]:
    """The job's chat messages as they are sent to a model.

    If the API does not support JSON schemas, the system message ends with the schema of the answer model.
    """
    messages = job_messages(job)
    if job.answer is None or profile.json_schema == "native":
        return messages
    wish = f"{{% raw %}}{schema_wish(job.answer)}{{% endraw %}}"
    if messages[0].get("role") == "system":
        return [{**messages[0], "content": _followed(messages[0].get("content"), wish)}, *messages[1:]]
    return [{"role": "system", "content": wish}, *messages]


def request_params(job: BatchJob, profile: ApiProfile) -> dict[str, Any]:
    """The fields of every request body besides model and messages, under the names that the API uses."""
    params = dict(job.params)
    for name in TOKEN_LIMITS:
        if name in params:
            params[profile.token_parameter] = params.pop(name)
    if job.answer is not None and profile.json_schema == "native":
        params["response_format"] = response_format(job.answer)
    return params


def line_fields(profile: ApiProfile) -> dict[str, str]:
    """The fields that the profile requires on a line besides `custom_id` and `body`."""
    if profile.line_format == "custom_id+body":
        return {}
    return {"method": "POST", "url": profile.endpoint or f"/v1{profile.chat_path}"}


def _field(name: str, profile: ApiProfile) -> str:
    return profile.token_parameter if name in TOKEN_LIMITS else name


def _read_message(message: Message, name: str) -> Message:
    """Read the files that a message names as its content, or as the texts of its parts."""
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": read_prompt(content, name=name)}
    if isinstance(content, list | tuple):
        return {**message, "content": [_read_part(part, name) for part in content]}
    return message


def _read_part(part: Any, name: str) -> Any:
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return {**part, "text": read_prompt(part["text"], name=name)}
    return part


def _followed(content: Any, wish: str) -> Any:
    if isinstance(content, list | tuple):
        return [*content, {"type": "text", "text": wish}]
    if isinstance(content, PromptText):
        return content.followed_by(f"\n\n{wish}")
    return f"{content}\n\n{wish}"


def _texts(value: Any) -> Iterator[str | PromptText]:
    """All texts in nested lists and mappings."""
    if isinstance(value, str | PromptText):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
