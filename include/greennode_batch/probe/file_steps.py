"""Files: upload, poll, list, read and delete. None of it costs anything."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from greennode_batch.api.profile import route
from greennode_batch.api.wire import RemoteFile, parse_committed_id
from greennode_batch.probe import variants
from greennode_batch.probe.places import id_place, is_whole_number, url_place
from greennode_batch.probe.session import Answer, ProbeEndedError, Session
from greennode_batch.probe.shapes import fields, list_shape, wrapper

FILES = "Files"
_MAX_UPLOADS = 40
_MAX_POLLS = 8
_MAY_WANT_JSON = frozenset({400, 411, 415, 422})
_PAUSE_SECONDS = 0.5
_BUSY = frozenset({"processing", "pending", "uploading", "uploaded_pending", "validating", "running", "queued"})


def upload(session: Session) -> None:
    """Store the first file, in the first form that the server accepts."""
    state = session.state
    if "main" in state.inputs:
        return
    left = variants.uploads(session.profile)
    refusals = []
    tried: list[variants.Variant] = []
    is_anything_there = False
    for _ in range(_MAX_UPLOADS):
        variant = left.pop(0)
        tried.append(variant)
        variant, answer = _try(session, variant)
        if answer.value is not None:
            _uploaded(session, answer, variant)
            return
        profile = variants.laid_over(session.profile, variant)
        how = f"{' '.join(route(profile.upload_path))} with purpose {profile.purpose}"
        refusals.append(f"{how}: {answer.says}")
        state.add(FILES, f"An upload was refused: {how}: {answer.says}.", answer.file)
        is_nowhere = answer.not_there or answer.status == HTTPStatus.METHOD_NOT_ALLOWED
        is_anything_there = is_anything_there or not is_nowhere
        if answer.about_the_account:
            break
        left = [one for one in _next_ways(tried, answer, left) if one not in tried]
        if not left:
            break
    _say_refused(session, refusals, is_anything_there=is_anything_there)


def _say_refused(session: Session, refusals: list[str], *, is_anything_there: bool) -> None:
    """Note that no upload was accepted. is_anything_there: whether any of the paths is one of the server's."""
    state = session.state
    if not state.successes:
        raise ProbeEndedError(
            "nothing that was tried exists: "
            + "; ".join([*(f"{what}: {why}" for what, why in state.open.items()), refusals[0]])
            + ". Is the base URL complete, and is this the API and not a web page?"
        )
    if is_anything_there:
        state.open["everything about files and batches"] = f"no upload was accepted: {refusals[-1]}"
        return
    state.add(
        FILES,
        "The server has no batches: nothing that was tried takes a file. A job with live=Live(only=True), or the "
        "option --live, has every request answered live.",
    )


def _next_ways(
    tried: list[variants.Variant], answer: Answer[RemoteFile], left: list[variants.Variant]
) -> list[variants.Variant]:
    """The ways to upload that are left after the last one was refused, those first that the refusal asks for."""
    refused = tried[-1]
    if answer.not_there or answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return variants.leave_out(left, refused, "upload_path")
    if refused["upload_style"] == "presigned":
        return [*variants.asked_for_at_begin(refused, answer.says), *left]
    is_new = all(one["upload_style"] == "form" for one in tried)
    if is_new and answer.status in _MAY_WANT_JSON and "purpose" not in answer.says:
        return [*variants.presigned(refused, answer.says), *left]
    return left


def _try(session: Session, variant: variants.Variant) -> tuple[variants.Variant, Answer[RemoteFile]]:
    """One upload; the variant says where the id and the URL for the bytes stand, where that had to be found out."""
    answer = session.upload("upload the main file", variants.laid_over(session.profile, variant), "main")
    for field, place_of in (("id", id_place), ("upload_url", url_place)):
        known = variant["file_fields"]
        place = (
            None if answer.value is not None or not answer.is_unread or field in known else place_of(session.raw_json())
        )
        if place is None or (field == "upload_url" and variant["upload_style"] == "form"):
            continue
        guess = {**variant, "file_fields": {**known, field: place}}
        better = session.upload("upload the main file", variants.laid_over(session.profile, guess), "main")
        if better.value is not None or (field == "id" and guess["upload_style"] == "presigned"):
            variant, answer = guess, better
    return variant, answer


def _uploaded(session: Session, answer: Answer[RemoteFile], variant: variants.Variant) -> None:
    state = session.state
    state.seen |= variant
    assert answer.value is not None
    state.inputs["main"] = answer.value.id
    if variant["file_fields"]:
        shown = ", ".join(f"{field} in `{path}`" for field, path in variant["file_fields"].items())
        state.add(FILES, f"The reply to an upload has the {shown}.", answer.file)
    if variant["upload_style"] == "presigned":
        _end_upload(session, answer.value.id)
    purpose = "no purpose" if variant["purpose"] is None else f"purpose {variant['purpose']!r}"
    state.add(FILES, f"{' '.join(route(variant['upload_path']))} with {purpose} stores a file.", answer.file)
    more = ", ".join(variant["upload_fields"])
    if more:
        state.add(FILES, f"The upload was sent with the fields {more} as well.", answer.file)
    state.add(FILES, f"The reply is {wrapper(answer.json)}: {fields(answer.json)}.", answer.file)


def _end_upload(session: Session, file_id: str) -> None:
    """Find out whether an upload in steps needs one more call to end it."""
    state = session.state
    state.add(FILES, "An upload is JSON, then the bytes to the URL that the reply names.")
    left = variants.commits(session.profile)
    while left:
        path = left.pop(0)
        answer = session.change(f"end the upload by {path}", path.replace("{file_id}", quote(file_id, safe="")))
        method, place = route(path)
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED and method == "POST":
            left = [f"PUT {place}", f"PATCH {place}"]
        if answer.ok:
            state.seen["upload_commit_path"] = path
            state.add(FILES, f"{method} {place} ends an upload.", answer.file)
            made = parse_committed_id(answer.json, path=session.profile.file_fields.get("committed_id"))
            if made is not None and made != file_id:
                state.add(FILES, "The reply to that names the file, by another id than the upload's.", answer.file)
                state.inputs["main"] = made
                state.files[made] = state.files.pop(file_id)
            return


def poll(session: Session) -> None:
    """Poll the file until it is processed, and find it in the list."""
    state = session.state
    file_id = next(iter(state.files), None)
    if file_id is None:
        return
    words: list[str] = []
    for _ in range(_MAX_POLLS):
        answer = session.ask("get the file", session.operations.get_file(file_id))
        if answer.value is None:
            state.open["the status of a file"] = answer.says
            break
        state.works(session.profile, "file_path")
        if is_whole_number(answer.json_object):
            state.seen["input_file_type"] = "integer"
            state.add(FILES, "Ids of files are whole numbers.", answer.file)
        status = answer.value.status or "none"
        if status not in words:
            words.append(status)
        if status.lower() not in _BUSY:
            break
        session.sleep(_PAUSE_SECONDS * 2 ** len(words))
    if words:
        state.add(FILES, f"GET of a file gives its metadata; status words seen: {', '.join(words)}.", answer.file)
    listed = session.ask_page("list files", session.operations.files(100))
    if listed.value is None:
        state.open["the list of files"] = listed.says
        return
    state.works(session.profile, "files_path")
    there = "shows" if any(one.id == file_id for one in listed.value.items) else "does not show"
    state.add(FILES, f"The list of files {there} it at once; entries {list_shape(listed.json)}.", listed.file)


def purposes(session: Session) -> None:
    """Find out which other values of `purpose` an upload accepts."""
    state = session.state
    if not state.files or state.model is None:
        return
    for purpose in variants.PURPOSES:
        if purpose == session.profile.purpose:
            continue
        profile = variants.laid_over(session.profile, {"purpose": purpose})
        name = "no purpose" if purpose is None else f"purpose {purpose!r}"
        answer = session.upload(f"upload with {name}", profile, "main", f"test of {name}")
        if answer.ok:
            state.works_too("purpose", value=purpose)
            state.add(FILES, f"An upload with {name} is accepted as well (no batch was made of it).", answer.file)
        else:
            state.add(FILES, f"An upload with {name} is refused: {answer.says}.", answer.file)


def content(session: Session) -> None:
    """Find out whether an input file can be read back."""
    file_id = next(iter(session.state.files), None)
    if file_id is None:
        return
    answer = session.fetch("read the input file back", session.operations.content_path(file_id))
    verdict = "can be read back" if answer.ok else f"cannot be read back ({answer.says})"
    session.state.add(FILES, f"An input file {verdict}.", answer.file)


def delete(session: Session) -> None:
    """Delete every file that the probe made; the first one twice."""
    state = session.state
    if session.keep:
        state.open["what deleting a file returns"] = "everything was to be kept"
        return
    for number, (file_id, what) in enumerate(list(state.files.items())):
        answer = session.ask("delete a file", session.operations.delete_file(file_id))
        there = answer.not_there and session.ask("get the file after", session.operations.get_file(file_id)).ok
        if answer.ok and not there:
            del state.files[file_id]
        else:
            state.left.append(f"file {file_id} ({what}): {answer.says}")
        if number == 0:
            state.add(
                FILES, f"DELETE of a file returns {answer.says}{', and leaves it' if there else ''}.", answer.file
            )
            if answer.ok and not there:
                again = session.ask("delete the file again", session.operations.delete_file(file_id))
                state.add(FILES, f"A second DELETE of it returns {again.says}.", again.file)
