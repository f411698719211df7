"""Messages: what a job says to the model, and the other fields of a request, before there is a row."""

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
    """All that makes a request of a row: as JSON, it tells whether a job asks what it asked before.

    messages: their strings still Jinja, with the files that they include. params: the other fields of the body, under
    the names that the API takes. row_params: those that a column gives, by name. line_fields: what the API wants on a
    line beside `custom_id` and `body`.
    """

    messages: list[Message]
    params: dict[str, Any]
    row_params: dict[str, str]
    line_fields: dict[str, str]

    @property
    def prompt_hash(self) -> str:
        """A hash of what is said to the model: the messages with all files in them, and the fields of a row's own."""
        said = msgspec.json.encode((self.messages, self.row_params))
        return hashlib.blake2b(said, digest_size=16).hexdigest()

    def names(self, job: BatchJob) -> frozenset[str]:
        """Every name that a row may have to tell: those in the templates, and columns."""
        return message_names(self.messages, prompt_name(job)).union(self.row_params.values())


def job_request(job: BatchJob, profile: ApiProfile) -> JobRequest:
    """What a job asks. Raises ConfigError for a prompt that is no Jinja, or a file that is not there."""
    return JobRequest(
        messages=chat_messages(job, profile),
        params=request_params(job, profile),
        row_params={_field(name, profile): column for name, column in job.row_params.items()},
        line_fields=line_fields(profile),
    )


def prompt_name(job: BatchJob) -> str:
    """What errors call the prompts of a job."""
    return f"prompt of job {job.name}"


def job_messages(job: BatchJob) -> list[Message]:
    """The job's chat messages with their files read, their strings still Jinja."""
    if job.messages is not None:
        return [_read_message(message, prompt_name(job)) for message in job.messages]
    system = [{"role": "system", "content": job.system}] if job.system else []
    messages = [*system, {"role": "user", "content": job.prompt or ""}]
    return [_read_message(message, prompt_name(job)) for message in messages]


def message_names(messages: Any, name: str) -> frozenset[str]:
    """Every name in the strings of messages, which may be columns."""
    return frozenset().union(*(names_in(text, name=name) for text in _texts(messages)))


def chat_messages(job: BatchJob, profile: ApiProfile) -> list[Message]:
    """The same as they are sent to a model.

    Where the API takes no JSON schema, the answer model's stands at the end of the system message instead.
    """
    messages = job_messages(job)
    if job.answer is None or profile.json_schema == "native":
        return messages
    wish = f"{{% raw %}}{schema_wish(job.answer)}{{% endraw %}}"
    if messages[0].get("role") == "system":
        return [{**messages[0], "content": _followed(messages[0].get("content"), wish)}, *messages[1:]]
    return [{"role": "system", "content": wish}, *messages]


def request_params(job: BatchJob, profile: ApiProfile) -> dict[str, Any]:
    """The fields of every request body beside model and messages, under the names that the API takes."""
    params = dict(job.params)
    for name in TOKEN_LIMITS:
        if name in params:
            params[profile.token_parameter] = params.pop(name)
    if job.answer is not None and profile.json_schema == "native":
        params["response_format"] = response_format(job.answer)
    return params


def line_fields(profile: ApiProfile) -> dict[str, str]:
    """What the profile wants on a line beside `custom_id` and `body`."""
    if profile.line_format == "custom_id+body":
        return {}
    return {"method": "POST", "url": profile.endpoint or f"/v1{profile.chat_path}"}


def _field(name: str, profile: ApiProfile) -> str:
    return profile.token_parameter if name in TOKEN_LIMITS else name


def _read_message(message: Message, name: str) -> Message:
    """A message whose content, or the texts of its parts, may be the names of files."""
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
    """All texts in a value of lists and mappings."""
    if isinstance(value, str | PromptText):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
