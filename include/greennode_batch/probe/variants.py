"""What to try next after a server's refusal: profiles, the likeliest first. Pure functions.

A variant is a set of profile fields on top of those that are known to work.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator
from typing import Any, TypeVar

from greennode_batch.api.profile import PRESETS, ApiProfile, route

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
    "upload_commit_path",
    "file_fields",
    "line_format",
)
CREATE_FIELDS = (
    "batches_path",
    "create_path",
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
_FILES_PATHS = ("/files", "/batch/files", "/datasets", "/uploads")
# What an upload in steps may begin with: its name, its size and its type, by the names that each may have.
_FILENAMES = ("filename", "file_name", "name", "fileName")
_SIZES = ("bytes", "size", "fileSize", "file_size", "sizeBytes", "size_bytes", "contentLength", "content_length")
_TYPES = ("contentType", "content_type", "mimeType", "mime_type", "fileType", "file_type")
_BEGUN_WITH = (
    dict.fromkeys(_FILENAMES, "{filename}")
    | dict.fromkeys(_SIZES, "{bytes}")
    | dict.fromkeys(_TYPES, "application/jsonl")
    | dict.fromkeys(("md5", "fileMd5", "file_md5"), "{md5}")
    | dict.fromkeys(("contentMd5", "contentMD5", "content_md5"), "{content_md5}")
    | dict.fromkeys(("sha256", "fileSha256", "file_sha256", "contentSha256", "content_sha256"), "{sha256}")
)
# Where gateways look for a key that is not in the usual header. Kong's key-auth has the first.
_KEY_HEADERS = ("apikey: {key}", "X-Api-Key: {key}", "api-key: {key}", "Authorization: {key}")
_INPUT_FIELDS = (
    "input_file_ids",
    "input_files",
    "input_file_id",
    "inputFileId",
    "input_file",
    "file_id",
    "fileId",
    "file",
    "inputFile",
    "input",
    "fileUrl",
    "file_url",
    "inputFileUrl",
    "input_file_url",
    "dataset_id",
    "datasetId",
    "key",
    "object_key",
    "objectKey",
)
_UNKNOWN = re.compile(
    r"unknown|unexpected|unrecogni[sz]ed|unsupported|extra|invalid (?:field|param)"
    r"|not (?:permitted|allowed|known|recogni[sz]ed|supported|an? )",
    re.IGNORECASE,
)
_NAMED_INPUT = re.compile(r"['\"`](\w*(?:file|dataset)\w*)['\"`]", re.IGNORECASE)
_BATCHES_PATHS = (
    "/batches",
    "/batch/jobs",
    "/batch",
    "/batches/jobs",
    "/jobs",
    "/batch_jobs",
    "/batch-jobs",
    "/batch-tasks",
    "/batch_tasks",
    "/batch/tasks",
    "/tasks",
    "/batch-inference",
)
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


def key_headers(profile: ApiProfile) -> list[str]:
    """Other headers that may carry the key."""
    return [header for header in _KEY_HEADERS if header != profile.key_header]


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
    # An upload may be an object of another kind, which becomes a file at its end.
    others = [{**own, "upload_path": "/uploads", "purpose": purpose} for purpose in PURPOSES] + others
    return _distinct([own, *purposes, *presets, *lines, *others])


def presigned(refused: Variant, words: str) -> list[Variant]:
    """Uploads in steps where one by a form was refused; first with the fields that the refusal asks for."""
    begun = {**refused, "upload_style": "presigned", "upload_fields": {}}
    names = sorted(_FILENAMES, key=lambda name: not _names(words, name))
    return asked_for_at_begin(begun, words) + [
        {**begun, "upload_fields": {name: "{filename}"}, "purpose": purpose}
        for name in names
        for purpose in _distinct([refused["purpose"], *PURPOSES])
    ]


def asked_for_at_begin(refused: Variant, words: str) -> list[Variant]:
    """An upload in steps with the fields besides its own that a refusal names: added to them, and in their place."""
    own = refused["upload_fields"]
    asked = {name: value for name, value in _BEGUN_WITH.items() if name not in own and _names(words, name)}
    # One name of each kind is enough.
    asked = {value: name for name, value in reversed(asked.items())}
    added = {name: value for value, name in asked.items()}
    if not added:
        return []
    kept = {name: value for name, value in own.items() if value not in asked}
    purposes = _distinct([refused["purpose"], None] if _names(words, "purpose") else [refused["purpose"]])
    return [{**refused, "upload_fields": kept | added, "purpose": purpose} for purpose in purposes]


def _names(words: str, name: str) -> bool:
    return re.search(rf"(?<![\w-]){name}(?![\w-])", words) is not None


def commits(profile: ApiProfile) -> list[str]:
    """Paths that may end an upload in steps."""
    tails = ("complete", "commit", "finish", "confirm")
    paths = _distinct([profile.file_path, f"{route(profile.upload_path)[1]}/{{file_id}}"])
    own = [profile.upload_commit_path] if profile.upload_commit_path else []
    ends = [f"{path}/{tail}" for path in paths for tail in tails]
    return own + ends + [f"PUT {end}" for end in ends]


def leave_out(variants: list[Variant], refused: Variant, name: str) -> list[Variant]:
    """The variants that differ from a refused one in this field."""
    return [one for one in variants if one[name] != refused[name]]


def own_create(profile: ApiProfile) -> Variant:
    """The profile's way to create a batch."""
    return _of(profile, CREATE_FIELDS)


def next_create(
    refused: Variant, words: str, *, not_there: bool, tried: list[Variant], unknown: Collection[str] = ()
) -> Variant | None:
    """The next way to create a batch after one was refused with these words; None when all are used up.

    unknown: fields that this server has said not to know, as `unknown_fields` gives them.
    """
    if not_there and tried[0]["create_path"] is None:
        known = {one["batches_path"] for one in tried}
        return next((one for one in _elsewhere(tried[0]) if one["batches_path"] not in known), None)
    ways = _creates(refused, words, unknown)
    return next((one for one in ways if one not in tried and not _sent(one) & set(unknown)), None)


def unknown_fields(refused: Variant, words: str) -> set[str]:
    """Fields of a create that a refusal calls unknown."""
    if _UNKNOWN.search(words) is None:
        return set()
    return {name for name in _sent(refused) if _names(words, name) and not _is_approved(words, name)}


def _is_approved(words: str, name: str) -> bool:
    """Whether a refusal says something good of a name: "'window' is not a field; 'inputFileId' is"."""
    return re.search(rf"(?<![\w-]){name}\W{{0,2}} (?:is|are)\b(?! (?:not|un|in|extra|an? un))", words) is not None


def _sent(variant: Variant) -> set[str]:
    """The names of the fields of a create."""
    optional = {
        "endpoint": variant["endpoint"],
        "completion_window": variant["completion_window"],
        "metadata": variant["metadata"],
        "model": variant["model_in_create"],
    }
    return {variant["input_file_field"], *variant["create_fields"], *(name for name in optional if optional[name])}


def _elsewhere(own: Variant) -> Iterator[Variant]:
    for preset in PRESETS.values():
        yield _of(preset, CREATE_FIELDS)
    for path in _BATCHES_PATHS:
        yield {**own, **_below(path)}


def _creates(refused: Variant, words: str, unknown: Collection[str]) -> Iterator[Variant]:
    yield from _guided(refused, words)
    left_out: Variant = {"endpoint": None, "completion_window": None, "metadata": False}
    known = {name: left_out[name] if name in unknown and name in left_out else value for name, value in refused.items()}
    if refused["input_file_field"] in unknown:
        for field in _INPUT_FIELDS:
            yield {**known, "input_file_field": field, "input_file_as_list": field.endswith("s")}
    yield known
    yield {**refused, "metadata": False}
    for change in ({"completion_window": None}, {"endpoint": None}, {"completion_window": None, "endpoint": None}):
        yield {**refused, "metadata": False, **change}
    yield {**refused, "model_in_create": True}
    same_place = _below(refused["batches_path"]) | {"metadata": False}
    for preset in PRESETS.values():
        yield {**_of(preset, CREATE_FIELDS), **same_place}
    for metadata in (refused["metadata"], False):
        for field in _INPUT_FIELDS:
            yield {
                **refused,
                "metadata": metadata,
                "input_file_field": field,
                "input_file_as_list": field.endswith("s"),
            }
    for field in _INPUT_FIELDS:
        yield {**refused, "metadata": False, "input_file_field": field, "input_file_as_list": not field.endswith("s")}


def _guided(refused: Variant, words: str) -> Iterator[Variant]:
    """What the refusal itself asks for, first all together and then one by one."""
    requested = [change for name, change in _requested(refused, words) if _names(words, name)]
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
    paths = dict.fromkeys([profile.cancel_path, f"{path}/cancel", f"{path}:cancel", f"PUT {path}/cancel"])
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
            ("pageNo", "pageSize"),
            ("page_no", "page_size"),
            ("pageNumber", "pageSize"),
            ("current", "size"),
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
