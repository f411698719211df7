"""Models and chat: the steps that cost a few tokens at the real-time price."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from greennode_batch.api.finish_reason import AnswerEnd, answer_end
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.api.wire import Model
from greennode_batch.probe.session import Answer, ProbeEndedError, Session
from greennode_batch.probe.shapes import fields, list_shape, reasoning_style
from greennode_batch.probe.state import MAX_CHATS
from greennode_batch.probe.tiny_requests import bad_body, chat_body, schema_body
from greennode_batch.wording import given_by

MODELS = "Key and models"
CHAT = "Chat"
_SHOWN_MODELS = 8
_NOT_CHAT = ("embed", "rerank", "image", "audio", "speech", "asr", "tts", "ocr", "guard", "moderation")
_TOKEN_PARAMETERS = ("max_tokens", "max_completion_tokens")


def models(session: Session) -> None:
    """Check that the key is accepted, and how the list spells the wanted model."""
    state = session.state
    answer = session.ask_first("list models", session.operations.list_models)
    if "key_header" in state.seen:
        state.add(MODELS, f"The key is taken in the header {state.seen['key_header']!r}.", answer.file)
    if answer.value is None:
        state.open["the list of models"] = answer.says
        if not answer.not_there:
            # The list exists but is broken: a job would search it for its models in vain.
            state.seen["check_models"] = False
        if state.requested_model is None:
            raise ProbeEndedError(
                f"the server gives no list of models ({answer.says}): {_name_one()}. Is the base URL complete, with "
                "/v1?"
            )
        state.model = state.requested_model
        return
    state.works(session.profile, "models_path")
    listed = answer.value
    state.add(MODELS, "The key is accepted.", answer.file)
    chat_models = [one.id for one in listed if _may_chat(one)]
    shown = ", ".join(chat_models[:_SHOWN_MODELS]) + (", …" if len(chat_models) > _SHOWN_MODELS else "")
    state.add(MODELS, f"{len(listed)} models are listed; {len(chat_models)} may be for chat: {shown}.", answer.file)
    state.add(MODELS, f"The entries of the list are {list_shape(answer.json)}.", answer.file)
    state.model = _choose(state.requested_model, listed, chat_models)
    if state.requested_model is None:
        state.add(MODELS, f"No model was named; {state.model} was taken, the first that may be for chat.")
    elif state.model != state.requested_model:
        state.add(MODELS, f"The list spells {state.requested_model} as {state.model}: this name was sent.", answer.file)


def _choose(requested: str | None, listed: list[Model], chat_models: list[str]) -> str:
    ids = [one.id for one in listed]
    if requested is None:
        if not chat_models:
            raise ProbeEndedError(f"the list of models names none for chat: {_name_one()}")
        return chat_models[0]
    by_folded = {one.casefold(): one for one in reversed(ids)}
    found = requested if requested in ids else by_folded.get(requested.casefold())
    if found is None:
        near = difflib.get_close_matches(requested.casefold(), by_folded, n=3, cutoff=0.4)
        hint = f"near: {', '.join(by_folded[one] for one in near)}" if near else f"the first are {', '.join(ids[:5])}"
        raise ProbeEndedError(f"the model {requested!r} is not among the {len(ids)} listed; {hint}")
    return found


def _may_chat(model: Model) -> bool:
    words = f"{model.id} {model.model_type or ''}".lower()
    return not any(word in words for word in _NOT_CHAT) and (model.status or "").lower() not in {"disabled", "inactive"}


def chat(session: Session) -> None:
    """Find out whether there is a chat endpoint, its token parameter, and what its replies hold."""
    state, model = session.state, session.state.model
    assert model is not None
    works: list[str] = []
    own = session.profile.token_parameter
    for parameter in (own, *(one for one in _TOKEN_PARAMETERS if one != own)):
        answer = _send(session, f"chat with {parameter}", chat_body(model, parameter))
        if answer is None:
            return
        if answer.ok:
            if not works:
                _describe(session, answer)
            works.append(parameter)
            continue
        if answer.not_there and not works and "model" not in answer.says.lower():
            state.add(CHAT, f"There is no chat endpoint: {answer.says}.", answer.file)
            state.open["how chats work"] = f"there is no chat endpoint ({answer.says})"
            return
        state.add(CHAT, f"A chat with {parameter} is refused: {answer.says}.", answer.file)
        if answer.about_the_account:
            break
    if not works:
        state.open["the token parameter"] = "no chat was answered; the refusals are above"
        return
    state.seen["token_parameter"] = works[0]
    for parameter in works[1:]:
        state.works_too("token_parameter", value=parameter)
    state.add(CHAT, f"The length of an answer is limited with {' or '.join(works)}.")


def structured(session: Session) -> None:
    """Find out whether the server supports JSON schemas natively."""
    state = session.state
    answer = _send_more(session, "chat with a JSON schema", schema_body, unknown="structured output")
    if answer is None:
        return
    if not answer.ok:
        state.add(CHAT, f"`response_format` json_schema is refused: {answer.says}.", answer.file)
        if answer.status in {400, 422}:
            state.seen["json_schema"] = "prompt"
        else:
            state.open["structured output"] = answer.says
        return
    result = answer.value
    assert result is not None
    if answer_end(result.finish_reason) is AnswerEnd.CUT:
        state.add(CHAT, "`response_format` json_schema is accepted; the answer was cut before it ended.", answer.file)
        state.open["whether answers follow a JSON schema"] = "the answer was cut at its token limit"
    elif _follows(result.content):
        state.seen["json_schema"] = "native"
        state.add(CHAT, "`response_format` json_schema is accepted, and the answer follows the schema.", answer.file)
    else:
        state.seen["json_schema"] = "prompt"
        state.add(CHAT, "`response_format` json_schema is accepted, but the answer does not follow it.", answer.file)


def refusal(session: Session) -> None:
    """Find out how the server answers a chat with impossible parameters."""
    state = session.state
    answer = _send_more(session, "chat with bad parameters", bad_body, unknown="the form of refusals in real time")
    if answer is None:
        return
    if answer.ok:
        state.add(CHAT, "A chat with a token limit of -1 and a temperature of 99 is answered anyway.", answer.file)
        return
    shape = fields(answer.json) if answer.json is not None else "no JSON"
    state.add(CHAT, f"Bad parameters are refused with {answer.says} (a body with {shape}).", answer.file)


def _send_more(
    session: Session, name: str, body: Callable[[str, str], dict[str, Any]], *, unknown: str
) -> Answer[ResultLine] | None:
    """Send another chat, if one was answered. unknown: what remains unknown without it."""
    state = session.state
    if "chat_path" not in state.seen or state.model is None:
        state.open[unknown] = "no chat was answered"
        return None
    return _send(session, name, body(state.model, session.profile.token_parameter))


def _send(session: Session, name: str, body: Mapping[str, Any]) -> Answer[ResultLine] | None:
    state = session.state
    if state.chats >= MAX_CHATS:
        state.open[name] = f"the limit of {MAX_CHATS} chats was reached"
        return None
    state.chats += 1
    answer = session.ask(name, session.operations.chat(body))
    if answer.ok:
        state.works(session.profile, "chat_path")
    return answer


def _describe(session: Session, answer: Answer[ResultLine]) -> None:
    data = answer.json if isinstance(answer.json, dict) else {}
    session.state.add(CHAT, "The chat endpoint answers.", answer.file)
    session.state.add(
        CHAT, f"`usage` has {fields(data['usage'])}." if data.get("usage") else "No `usage`.", answer.file
    )
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    message = choice.get("message") if isinstance(choice, dict) else None
    content = None if answer.value is None else answer.value.content
    style = reasoning_style(content, message if isinstance(message, dict) else {})
    session.state.add(CHAT, f"The reasoning of this model: {style}.", answer.file)


def _follows(content: str | None) -> bool:
    try:
        data = msgspec.json.decode((content or "").encode())
    except msgspec.DecodeError:
        return False
    return isinstance(data, dict) and isinstance(data.get("ok"), bool) and len(data) == 1


def _name_one() -> str:
    return f"name one with {given_by('model', 'the parameter model')}"
