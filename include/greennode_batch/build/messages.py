"""Messages: what a job says to the model, and the other fields of a request, the same for each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from greennode_batch.api.profile import ApiProfile
from greennode_batch.collect.answers import response_format, schema_wish
from greennode_batch.job import BatchJob, read_job_text


def chat_messages(job: BatchJob, profile: ApiProfile) -> list[Mapping[str, Any]]:
    """The job's chat messages, their contents still Jinja.

    Where the API takes no JSON schema, the answer model's stands at the end of the system message instead.
    """
    if job.messages is not None:
        messages = [
            {**message, "content": read_job_text(message["content"])}
            if isinstance(message.get("content"), str)
            else message
            for message in job.messages
        ]
    else:
        system = [{"role": "system", "content": read_job_text(job.system)}] if job.system else []
        messages = [*system, {"role": "user", "content": read_job_text(job.prompt or "")}]
    if job.answer is None or profile.json_schema == "native":
        return messages
    wish = f"{{% raw %}}{schema_wish(job.answer)}{{% endraw %}}"
    if messages[0].get("role") == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{wish}"}, *messages[1:]]
    return [{"role": "system", "content": wish}, *messages]


def request_params(job: BatchJob, profile: ApiProfile) -> dict[str, Any]:
    """The fields of every request body beside model and messages, under the names that the API takes."""
    params = dict(job.params)
    for name in ("max_tokens", "max_completion_tokens"):
        if name in params:
            params[profile.token_parameter] = params.pop(name)
    if job.answer is not None and profile.json_schema == "native":
        params["response_format"] = response_format(job.answer)
    return params
