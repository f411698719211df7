"""What to try next after a server's refusal: profiles, the likeliest first. Pure functions.

A variant is a set of profile fields on top of those that are known to work.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from greennode_batch.api.profile import PRESETS, ApiProfile

T = TypeVar("T")
Variant = dict[str, Any]

UPLOAD_FIELDS = (
    "upload_path",
    "files_path",
    "file_path",
    "content_path",
    "purpose",
    "upload_fields",
    "upload_style",
    "file_fields",
    "line_format",
)
CREATE_FIELDS = (
    "batches_path",
    "batch_path",
    "input_file_field",
    "input_file_as_list",
    "input_file_type",
    "endpoint",
    "completion_window",
    "metadata",
    "model_in_create",
    "create_fields",
)
PURPOSES = ("batch", "batch-api", None)
_FILES_PATHS = ("/files", "/batch/files", "/datasets")
_FILENAMES = ("filename", "file_name", "name", "fileName")
_INPUT_FIELDS = ("input_file_ids", "input_files", "input_file_id", "inputFileId", "input_file", "file_id")
_NAMED_INPUT = re.compile(r"['\"`](\w*(?:file|dataset)\w*)['\"`]", re.IGNORECASE)
_BATCHES_PATHS = ("/batches", "/batch/jobs", "/batch", "/batches/jobs", "/jobs", "/batch_jobs", "/batch-jobs")
_DEFAULT_ENDPOINT = "/v1/chat/completions"
_DEFAULT_WINDOW = "24h"


def other_line_format(profile: ApiProfile) -> Variant:
    """The line format that the profile does not have."""
    long = profile.line_format == "custom_id+method+url+body"
    return {"line_format": "custom_id+body" if long else "custom_id+method+url+body"}


def speaks_of_lines(words: str) -> bool:
    """Whether a refusal may be about `method` and `url` in the lines."""
    return re.search(r"\bmethod\b|\burl\b|\blines?\b|jsonl|format|schema", words, re.IGNORECASE) is not None


def speaks_of_the_account(words: str) -> bool:
    """Whether a failure is about credit or the model, so that other lines would fail as well."""
    pattern = r"credit|quota|balance|billing|model.*(?:not|exist|found|disabled)|token_limit"
    return re.search(pattern, words, re.IGNORECASE) is not None


def uploads(profile: ApiProfile) -> list[Variant]:
    """Ways to upload, starting with the profile's."""
    own = _of(profile, UPLOAD_FIELDS)
    purposes = [{**own, "purpose": purpose} for purpose in PURPOSES]
    presets = [{**own, **_of(preset, ("upload_path", "purpose", "upload_fields"))} for preset in PRESETS.values()]
    lines = [{**own, **other_line_format(profile)}]
    others = [
        {**own, **_files_at(path), "upload_path": path + tail, "purpose": purpose}
        for path in _FILES_PATHS
        for tail in ("", "/upload")
        for purpose in PURPOSES
    ]
    return _distinct([own, *purposes, *presets, *lines, *others])


def presigned(refused: Variant, words: str) -> list[Variant]:
    """Uploads in steps, after a form was refused; first with the field that the refusal asks for."""
    names = sorted(_FILENAMES, key=lambda name: re.search(rf"['\"`]{name}['\"`]", words) is None)
    return [
        {**refused, "upload_style": "presigned", "upload_fields": {name: "{filename}"}, "purpose": purpose}
        for name in names
        for purpose in _distinct([refused["purpose"], *PURPOSES])
    ]


def commits(profile: ApiProfile) -> list[str]:
    """Paths that may end an upload in steps."""
    return [f"{profile.file_path}/{tail}" for tail in ("complete", "commit", "finish", "confirm")]


def leave_out(variants: list[Variant], refused: Variant, name: str) -> list[Variant]:
    """The variants that differ from a refused one in this field."""
    return [one for one in variants if one[name] != refused[name]]


def own_create(profile: ApiProfile) -> Variant:
    """The profile's way to create a batch."""
    return _of(profile, CREATE_FIELDS)


def next_create(refused: Variant, words: str, *, not_there: bool, tried: list[Variant]) -> Variant | None:
    """The next way to create a batch after one was refused with these words; None if all were tried."""
    if not_there:
        known = {one["batches_path"] for one in tried}
        return next((one for one in _elsewhere(tried[0]) if one["batches_path"] not in known), None)
    return next((one for one in _creates(refused, words) if one not in tried), None)


def _elsewhere(own: Variant) -> Iterator[Variant]:
    for preset in PRESETS.values():
        yield _of(preset, CREATE_FIELDS)
    for path in _BATCHES_PATHS:
        yield {**own, **_below(path)}


def _creates(refused: Variant, words: str) -> Iterator[Variant]:
    yield from _guided(refused, words)
    yield {**refused, "metadata": False}
    for change in ({"completion_window": None}, {"endpoint": None}, {"completion_window": None, "endpoint": None}):
        yield {**refused, "metadata": False, **change}
    yield {**refused, "model_in_create": True}
    same_place = _below(refused["batches_path"]) | {"metadata": False}
    for preset in PRESETS.values():
        yield {**_of(preset, CREATE_FIELDS), **same_place}
    for field in _INPUT_FIELDS:
        for as_list in (False, True):
            yield {**refused, "metadata": False, "input_file_field": field, "input_file_as_list": as_list}


def _guided(refused: Variant, words: str) -> Iterator[Variant]:
    """What the refusal itself asks for, first all together and then one by one."""
    requested = [
        change for name, change in _requested(refused, words) if re.search(rf"(?<![\w-]){name}(?![\w-])", words)
    ]
    if requested:
        together: Variant = dict(refused)
        for change in requested:
            together |= change
        yield together
    for change in requested:
        yield {**refused, **change}


def _requested(refused: Variant, words: str) -> Iterator[tuple[str, Variant]]:
    yield "metadata", {"metadata": not refused["metadata"]}
    offered = re.findall(r"['\"`](\d+[hd])['\"`]", words)
    window = next((one for one in offered if one != refused["completion_window"]), None)
    yield (
        "completion_window",
        {"completion_window": window or (None if refused["completion_window"] else _DEFAULT_WINDOW)},
    )
    paths = [one for one in re.findall(r"['\"`](/[\w/.-]+)['\"`]", words) if one != refused["endpoint"]]
    endpoint = next((one for one in paths if one.endswith("completions")), None)
    yield "endpoint", {"endpoint": endpoint or (None if refused["endpoint"] else _DEFAULT_ENDPOINT)}
    yield "model", {"model_in_create": not refused["model_in_create"]}
    yield (
        "completionWindow",
        {
            "completion_window": None,
            "create_fields": {**refused["create_fields"], "completionWindow": window or _DEFAULT_WINDOW},
        },
    )
    for name in _NAMED_INPUT.findall(words):
        if name not in {refused["input_file_field"], *_INPUT_FIELDS}:
            yield name, {"input_file_field": name, "input_file_as_list": name.endswith("s")}
    as_list = re.search(r"\b(?:list|array|sequence)\b", words, re.IGNORECASE) is not None
    for field in _INPUT_FIELDS:
        if field != refused["input_file_field"]:
            yield field, {"input_file_field": field, "input_file_as_list": field.endswith("s")}
        elif as_list and not refused["input_file_as_list"]:
            yield field, {"input_file_as_list": True}
    for preset in PRESETS.values():
        for name, value in preset.create_fields.items():
            if name not in refused["create_fields"]:
                yield name, {"create_fields": {**refused["create_fields"], name: value}}


def shorter_creates(profile: ApiProfile) -> list[tuple[str, Variant]]:
    """Creates without one of the fields, to learn which are needed: (the field left out, variant)."""
    own = own_create(profile)
    optional = [name for name in ("endpoint", "completion_window") if own[name]]
    without = [(" and ".join(optional), {**own, **dict.fromkeys(optional)})] if len(optional) > 1 else []
    return without + [(name, {**own, name: None}) for name in optional]


def cancels(profile: ApiProfile) -> list[Variant]:
    """Ways to cancel a batch, the harmless ones first: DELETE may also delete it."""
    path = profile.batch_path
    paths = dict.fromkeys([profile.cancel_path, f"{path}/cancel", f"{path}:cancel"])
    return [*({"cancel_style": "post", "cancel_path": one} for one in paths), {"cancel_style": "delete"}]


def pagings(profile: ApiProfile) -> list[Variant]:
    """Ways to request a page of a list."""
    own = _of(profile, ("list_style", "page_parameter", "size_parameter", "first_page"))
    cursor = {**own, "list_style": "cursor"}
    pages = [
        {"list_style": "page", "page_parameter": page, "size_parameter": size, "first_page": 0}
        for page, size in (
            ("page", "page_size"),
            ("page", "size"),
            ("page", "pageSize"),
            ("page", "limit"),
            ("page", "per_page"),
            ("pageNum", "pageSize"),
            ("pageNum", "page_size"),
            ("pageNum", "size"),
            ("pageNum", "limit"),
            ("page_num", "page_size"),
        )
    ]
    first = [own] if own["list_style"] == "page" else []
    return _distinct([*first, cursor, *pages])


def results_paths(profile: ApiProfile) -> list[str]:
    """Paths that may hold all results of a batch."""
    return list(dict.fromkeys([profile.results_path, f"{profile.batch_path}/results"]))


def contents(profile: ApiProfile) -> list[str]:
    """Paths that may hold a file's content."""
    tails = ("/content", "/download", "/url", "/result", "/results")
    return list(dict.fromkeys([profile.content_path, *(profile.file_path + tail for tail in tails)]))


def _files_at(path: str) -> Variant:
    return {"files_path": path, "file_path": f"{path}/{{file_id}}", "content_path": f"{path}/{{file_id}}/content"}


def _below(path: str) -> Variant:
    return {
        "batches_path": path,
        "batch_path": f"{path}/{{batch_id}}",
    }


def _of(profile: ApiProfile, names: tuple[str, ...]) -> Variant:
    return {name: getattr(profile, name) for name in names}


def laid_over(profile: ApiProfile, variant: Variant) -> ApiProfile:
    """The profile with a variant's fields."""
    return dataclasses.replace(profile, **variant)


def _distinct(variants: list[T]) -> list[T]:
    kept: list[T] = []
    for one in variants:
        if one not in kept:
            kept.append(one)
    return kept
