"""The official OpenAI SDK as an outside witness: it must be able to do everything against the emulator."""

import io
from typing import Literal

import openai
import pytest
from pydantic import BaseModel

from greennode_emulator.answers import answer_for


class Label(BaseModel):
    label: Literal["good", "bad"]
    reasons: list[str]


def upload(sdk, content):
    return sdk.files.create(file=("in.jsonl", io.BytesIO(content)), purpose="batch")


def create(sdk, file_id, **more):
    return sdk.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h", **more)


@pytest.fixture
def wait(until):
    """The batch at its end."""

    def ended(sdk, batch_id):
        batch = sdk.batches.retrieve(batch_id)
        return batch if batch.status in ("completed", "failed", "cancelled") else None

    return lambda sdk, batch_id: until(lambda: ended(sdk, batch_id))


def test_files(sdk):
    file = upload(sdk, b"content")
    assert sdk.files.retrieve(file.id) == file
    assert sdk.files.content(file.id).read() == b"content"
    assert [one.id for one in sdk.files.list()] == [file.id]
    assert sdk.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.retrieve(file.id)


def test_a_batch_from_upload_to_results(sdk, wait, body, jsonl):
    bodies = {f"r{row}": body(str(row)) for row in range(20)} | {"bad": body(n=0)}
    file = upload(sdk, jsonl(bodies))
    batch = create(sdk, file.id, metadata={"run": "7"})
    assert batch.status == "validating"
    batch = wait(sdk, batch.id)
    assert batch.metadata == {"run": "7"}
    assert batch.usage.input_tokens == sum(answer_for(bodies[f"r{row}"]).prompt_tokens for row in range(20))
    assert (batch.request_counts.total, batch.request_counts.completed) == (21, 20)
    assert len(sdk.files.content(batch.output_file_id).text.strip().split("\n")) == 20
    assert len(sdk.files.content(batch.error_file_id).text.strip().split("\n")) == 1
    assert {file.purpose for file in sdk.files.list()} == {"batch", "batch_output"}


def test_a_failed_batch_shows_its_errors(sdk, wait):
    batch = wait(sdk, create(sdk, upload(sdk, b"nonsense\n").id).id)
    assert batch.status == "failed"
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == ("invalid_json_line", 1)


def test_all_pages_of_batches(sdk, body, jsonl):
    file = upload(sdk, jsonl({"a": body()}))
    ids = [create(sdk, file.id).id for _ in range(7)]
    assert [batch.id for batch in sdk.batches.list(limit=3)] == ids[::-1]


def test_cancel(timed, clock, wait, body, jsonl):
    server = timed.server
    sdk = openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0)
    batch = create(sdk, upload(sdk, jsonl({"a": body()})).id)
    assert sdk.batches.cancel(batch.id).status == "cancelling"
    clock.advance(5)
    assert wait(sdk, batch.id).status == "cancelled"
    with pytest.raises(openai.ConflictError):
        sdk.batches.cancel(batch.id)


def test_models(sdk):
    ids = [model.id for model in sdk.models.list()]
    assert "greennode/greenmind-medium-14b-r1" in ids
    assert sdk.models.retrieve("zai/glm-5.2").id == "zai/glm-5.2"


def test_chat(sdk, body):
    reply = sdk.chat.completions.create(**body("why?", n=2))
    assert reply.choices[0].message.content == answer_for(body("why?")).content
    assert len(reply.choices) == 2
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_chat_parses_into_a_model(sdk, body):
    reply = sdk.chat.completions.parse(**body("label this"), response_format=Label)
    assert reply.choices[0].message.parsed.label in ("good", "bad")


def test_errors_arrive_as_the_sdk_knows_them(sdk, body, emulator):
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(**body() | {"model": "nobody"})
    assert missing.value.code == "model_not_found"
    assert missing.value.request_id
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.chat.completions.create(**body(temperature=3))
    assert bad.value.param == "temperature"
    stranger = openai.OpenAI(base_url=emulator.base_url, api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_dropped_create_is_a_connection_error(sdk, body, jsonl, emulator):
    file = upload(sdk, jsonl({"a": body()}))
    emulator.faults([{"endpoint": "POST /batches", "kind": "reset_after"}])
    with pytest.raises(openai.APIConnectionError):
        create(sdk, file.id)
    assert [batch.input_file_id for batch in sdk.batches.list()] == [file.id]


def test_a_called_tool_is_read_as_one(sdk, body):
    tool = {"type": "function", "function": {"name": "label", "parameters": Label.model_json_schema()}}
    choice = sdk.chat.completions.create(**body("how?", tools=[tool], tool_choice="required")).choices[0]
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content, call.type) == ("tool_calls", None, "function")
    assert call.function.name == "label"
    Label.model_validate_json(call.function.arguments)
    assert call.id
