"""Creates batches, each once."""

from __future__ import annotations

import re

from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.wire import Batch, parse_batch, reply_object
from greennode_batch.errors import AmbiguousError
from greennode_batch.probe import shapes, variants
from greennode_batch.probe.list_steps import find_by_file
from greennode_batch.probe.places import id_place
from greennode_batch.probe.session import Answer, ProbeEndedError, Session
from greennode_batch.probe.state import MAX_BATCHES, MAX_CREATE_CALLS, ProbeBatch, Role
from greennode_batch.probe.watch_steps import poll

CREATE = "Creating a batch"
METADATA = {"made_by": "greennode-batch probe"}
_MAX_TRIES = 30
_PAUSE_SECONDS = 0.5
_NOT_READY = re.compile(r"\bfile\b.*(?:not found|not exist|not ready|process|upload)|\bPROCESSING\b", re.IGNORECASE)
_NOT_READY_STATUSES = frozenset({400, 404, 409, 422, 425})
_NOT_READY_TRIES = 3


def create_main(session: Session) -> None:
    """Create the main batch, in the first form that the server accepts."""
    state = session.state
    file_id = state.inputs.get("main")
    if file_id is None or state.current("main") is not None:
        return
    variant = variants.own_create(session.profile)
    tried: list[variants.Variant] = []
    unknown: set[str] = set()
    says = ""
    for _ in range(_MAX_TRIES):
        tried.append(variant)
        profile = variants.laid_over(session.profile, variant)
        answer = create(session, "main", profile, file_id)
        if answer is None:
            return
        if answer.ok:
            _created(session, answer, variant)
            return
        says = answer.says
        state.add(CREATE, f"A create was refused: {_sent(variant)}: {says}.", answer.file)
        if answer.about_the_account:
            break
        if variants.speaks_of_lines(answer.says) and "line" in answer.says.lower() and len(tried) == 1:
            file_id = upload_other_lines(session) or file_id
            tried.clear()
            continue
        missing = answer.not_there and not _NOT_READY.search(answer.says)
        unknown |= variants.unknown_fields(variant, says)
        following = variants.next_create(variant, says, not_there=missing, tried=tried, unknown=unknown)
        if following is None:
            break
        variant = following
    state.open["everything about batches"] = f"no create was accepted; the last refusal was {says}"


def upload_other_lines(session: Session) -> str | None:
    """Store the main file in the other line format."""
    profile = variants.laid_over(session.profile, variants.other_line_format(session.profile))
    answer = session.upload("upload other lines", profile, "main")
    if answer.value is None:
        return None
    session.state.works(profile, "line_format")
    session.state.inputs["main"] = answer.value.id
    return answer.value.id


def create(session: Session, role: Role, profile: ApiProfile, file_id: str) -> Answer[Batch] | None:
    """Send one create. None if the cost limit forbids it."""
    state = session.state
    if len(state.batches) >= MAX_BATCHES or state.create_calls >= MAX_CREATE_CALLS:
        state.open[f"the {role} batch"] = f"the limit of {MAX_BATCHES} batches, {MAX_CREATE_CALLS} creates was reached"
        return None
    if role in state.creating:
        return None
    operations = session.with_profile(profile)
    answer: Answer[Batch] = Answer()
    for attempt in range(_NOT_READY_TRIES):
        state.create_calls += 1
        state.creating[role] = file_id
        session.save()
        begun = session.now()
        answer = session.ask(f"create {role}", operations.create_batch(file_id, METADATA, state.model))
        words = f"{answer.says} {answer.error.code if answer.error else None}"
        if answer.ok or answer.status not in _NOT_READY_STATUSES or not _NOT_READY.search(words):
            break
        session.sleep(_PAUSE_SECONDS * 2**attempt)
    if answer.value is not None:
        one = _adopt(session, role, file_id, answer.value.id, line_format=profile.line_format, begun=begun)
        _note_reply(one, answer, begun)
    elif answer.is_unread and (field := id_place(session.raw_json())) and "id" not in profile.batch_fields:
        state.seen["batch_fields"] = {**profile.batch_fields, "id": field}
        state.add(CREATE, f"A batch has its id in `{field}`.", answer.file)
        value = parse_batch(session.raw_json(), paths=state.seen["batch_fields"])
        _adopt(session, role, file_id, value.id, line_format=profile.line_format, begun=begun)
        answer = Answer(value=value, reply=answer.reply, file=answer.file)
    elif isinstance(answer.error, AmbiguousError):
        found, listed = find_by_file(session, file_id)
        if found is None and listed and answer.is_refusal:
            del state.creating[role]
            session.save()
            return answer
        if found is None:
            raise ProbeEndedError(
                f"a create had no clear answer ({answer.says}), and no list shows its batch. "
                "Nothing more is created until the list has been read again"
            )
        _adopt(session, role, file_id, found.id, line_format=profile.line_format, begun=begun)
        state.add(CREATE, f"A create was answered with {answer.says}, but the list shows its batch.", answer.file)
        answer = Answer(value=found, reply=answer.reply, file=answer.file)
    else:
        del state.creating[role]
    session.save()
    return answer


def _note_reply(one: ProbeBatch, answer: Answer[Batch], begun: float) -> None:
    # A reply that is the id alone shows nothing else of the batch.
    if reply_object(answer.json) is not None:
        one.note(answer.json_object, begun)


def _adopt(session: Session, role: Role, file_id: str, name: str, *, line_format: str, begun: float) -> ProbeBatch:
    one = ProbeBatch(role=role, id=name, file_id=file_id, line_format=line_format, created_at=begun)
    session.state.batches.append(one)
    session.state.creating.pop(role, None)
    return one


def settle_creates(session: Session) -> None:
    """Find the batch of an earlier create whose outcome is unknown, before anything is created again."""
    state = session.state
    for role, file_id in list(state.creating.items()):
        found, listed = find_by_file(session, file_id)
        if found is not None:
            line_format = session.profile.line_format
            _adopt(session, role, file_id, found.id, line_format=line_format, begun=session.now())
        elif listed:
            del state.creating[role]
        else:
            state.open[f"whether a batch of file {file_id} was made"] = "its create was cut off, and there is no list"


def _created(session: Session, answer: Answer[Batch], variant: variants.Variant) -> None:
    state = session.state
    state.seen |= variant
    state.add(CREATE, f"Accepted: {_sent(variant)}.", answer.file)
    state.add(CREATE, f"The reply is {shapes.wrapper(answer.json)}: {shapes.fields(answer.json_object)}.", answer.file)
    one = state.current("main")
    if one is None or not poll(session, one):
        return
    obj = one.raw
    got = session.ask("get the batch", session.operations.get_batch(one.id))
    state.add(CREATE, f"GET of it is {shapes.wrapper(got.json)}.", got.file)
    for what, names in (
        ("input file", ("input_file_id", "inputFileId", "input_file", "input_files", "input_file_ids", "file_id")),
        ("output file", ("output_file_id", "outputFileId", "output_file", "result_file_id", "result_file")),
        ("error file", ("error_file_id", "errorFileId", "error_file")),
    ):
        name = shapes.present(obj, names)
        state.add(CREATE, f"Its {what} is in `{name}`." if name else f"Nothing yet names its {what}.", got.file)
    state.add(CREATE, f"Counts: {shapes.counts(obj)}. Times: {shapes.times(obj)}.", got.file)
    if variant["metadata"]:
        back = one.batch.metadata == METADATA
        if not back:
            state.works_too("metadata", value=False)
        state.add(CREATE, f"Metadata is accepted and {'comes back' if back else 'does not come back'}.", got.file)


def _sent(variant: variants.Variant) -> str:
    field = variant["input_file_field"]
    names = [f"{field} as a list" if variant["input_file_as_list"] else field]
    names += [f"{name} {variant[name]}" for name in ("endpoint", "completion_window") if variant[name]]
    names += ["metadata"] * bool(variant["metadata"]) + ["model"] * bool(variant["model_in_create"])
    names += list(variant["create_fields"])
    return f"POST {variant['batches_path']} with {', '.join(names)}"


def create_cancelled(session: Session) -> None:
    """Create the batch to cancel, and learn from it which fields a create needs."""
    state = session.state
    file_id = _input_for(session, "cancelled")
    if file_id is None:
        return
    for left_out, variant in variants.shorter_creates(session.profile):
        answer = create(session, "cancelled", variants.laid_over(session.profile, variant), file_id)
        if answer is None:
            return
        if answer.ok:
            for name in left_out.split(" and "):
                state.works_too(name, value=None)
            state.add(CREATE, f"It is accepted without {left_out} as well.", answer.file)
            return
        state.add(CREATE, f"Without {left_out} it is refused: {answer.says}.", answer.file)
    create(session, "cancelled", session.profile, file_id)


def create_bad_line(session: Session) -> None:
    """Create the batch with one line that no server should answer."""
    file_id = _input_for(session, "bad_line")
    if file_id is not None:
        answer = create(session, "bad_line", session.profile, file_id)
        if answer is not None and not answer.ok:
            session.state.add("One bad line", f"The create itself is refused: {answer.says}.", answer.file)


def _input_for(session: Session, role: Role) -> str | None:
    state = session.state
    if state.current("main") is None or state.current(role) is not None or state.model is None:
        return None
    answer = session.upload(f"upload for {role}", session.profile, role)
    if answer.value is None:
        state.open[f"the {role} batch"] = f"its file was refused: {answer.says}"
        state.add("Files", f"The file of the {role} batch is refused at upload: {answer.says}.", answer.file)
    return None if answer.value is None else answer.value.id
