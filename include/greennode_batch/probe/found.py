"""What worked -> the profile for the connection: the nearest preset, and its overrides. Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from greennode_batch.api.profile import PRESETS, ApiProfile

# Fields that a probe cannot see, and that must not come from another API's preset.
LIMITS = ("max_requests", "max_file_bytes")
ALWAYS_UNSEEN = (*LIMITS, "name", "extra_headers")


@dataclasses.dataclass(frozen=True)
class Found:
    """`extra` is the JSON for the connection; `unseen` are the fields that the probe learned nothing about."""

    preset: str
    overrides: dict[str, Any]
    unseen: tuple[str, ...]

    @property
    def extra(self) -> dict[str, Any]:
        """What the connection's extra field takes."""
        return {"profile": self.preset, **self.overrides}

    @property
    def profile(self) -> ApiProfile:
        """The same as a profile; a ConfigError would mean that the probe made an invalid one."""
        return ApiProfile.from_extra(self.extra)


def found(seen: Mapping[str, Any], also: Mapping[str, Sequence[Any]], *, base: ApiProfile) -> Found:
    """The preset with the fewest overrides. One other than `base` must save two, because unseen fields come from it."""
    names = [base.name, *(name for name in PRESETS if name != base.name)] if base.name in PRESETS else list(PRESETS)
    candidates = {name: _overrides(PRESETS[name], seen, also, base) for name in names}

    def distance(name: str) -> tuple[int, int]:
        overrides = candidates[name]
        return len(overrides) + (name != base.name), len(overrides.keys() - set(LIMITS))

    preset = min(names, key=distance)
    overrides = candidates[preset]
    unseen = tuple(field.name for field in dataclasses.fields(ApiProfile) if field.name not in {*seen, *ALWAYS_UNSEEN})
    return Found(preset, overrides, unseen)


def _overrides(
    preset: ApiProfile, seen: Mapping[str, Any], also: Mapping[str, Sequence[Any]], base: ApiProfile
) -> dict[str, Any]:
    differ = {
        name: value
        for name, value in seen.items()
        if getattr(preset, name) != value and getattr(preset, name) not in also.get(name, ())
    }
    kept = [*LIMITS, *(name for name in _stated(base) if name not in seen)]
    return differ | {name: getattr(base, name) for name in kept if getattr(preset, name) != getattr(base, name)}


def _stated(base: ApiProfile) -> list[str]:
    """The fields in which a profile differs from its preset: somebody has said them, so they stay."""
    preset = PRESETS.get(base.name, ApiProfile())
    names = [field.name for field in dataclasses.fields(ApiProfile) if field.name not in {"name", *LIMITS}]
    return [name for name in names if getattr(base, name) != getattr(preset, name)]
