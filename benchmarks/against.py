"""The engine's steps of this tree beside those of another commit: which became slower or larger.

Each tree runs its own steps and engine, one process a step. The program around a step is this tree's `one_step.py`, so
the trees share its imports from this folder, the names of steps in `rounds.py`, and the folder and tables of the steps.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from own_process import PROJECT, Measured, StepError, run_step
from rounds import Round, Section, Step, steps_of

MAX_RATIO = 1.05
ROUNDS = 8
"""Even: the tree that runs a step first pays more for it, so each tree is first in half of the rounds."""


class Cost(NamedTuple):
    """Of one part of a step, or the ratio to another's cost."""

    cpu_seconds: float
    peak_mb: float


class Turn(NamedTuple):
    """The same part in both trees, one right after the other."""

    ours: Cost
    theirs: Cost


def ratio(turns: Sequence[Turn]) -> Cost:
    """The medians of ours / theirs."""
    return Cost(
        median(ours.cpu_seconds / theirs.cpu_seconds for ours, theirs in turns),
        median(ours.peak_mb / theirs.peak_mb for ours, theirs in turns),
    )


def over(turns: Sequence[Turn]) -> set[str]:
    """The fields of Cost whose median is over the limit."""
    return {name for name, times in ratio(turns)._asdict().items() if times > MAX_RATIO}


@dataclass(frozen=True)
class Tree:
    """A checkout, the folder of its steps, and their database."""

    project: Path
    folder: Path
    dsn: str | None

    def run(self, step: str, *arguments: object) -> Measured:
        """Run a step of this checkout."""
        return run_step(self.folder, step, *arguments, dsn=self.dsn or "", project=self.project)


@dataclass
class Comparison:
    """One size, by part. second: of those parts that were over the limit in the first rounds."""

    rows: int
    first: dict[str, list[Turn]] = field(default_factory=dict)
    second: dict[str, list[Turn]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def worse(self, part: str) -> set[str]:
        """The fields of Cost whose median is over the limit both times."""
        return over(self.first[part]) & over(self.second[part]) if part in self.second else set()

    @property
    def is_worse(self) -> bool:
        """Whether any part is."""
        return any(self.worse(part) for part in self.first)


def compare(ours: Tree, theirs: Tree, rows: int, *, is_quick: bool, say: Callable[[str], None]) -> Comparison:
    """Run the steps of both trees in turn, eight times, then again as often those that seem worse.

    is_quick: one round, which finds nothing worse. A step that the other tree cannot run is run in ours alone, and
    not compared.
    """
    rounds = 1 if is_quick else ROUNDS
    found = Comparison(rows)
    both = _Both(ours, theirs, found.left_out)
    sections: dict[str, Section] = {}
    for number in range(rounds):
        say(f"{rows:,} rows: round {number + 1} of {rounds}")
        for section, part, turn in both.run_round(None, number=number):
            found.first.setdefault(part, []).append(turn)
            sections[part] = section
    if not found.first:
        raise StepError(f"the other commit can run no step: {found.left_out}")
    found.second = {part: [] for part, turns in found.first.items() if over(turns) and not is_quick}
    wanted = {sections[part] for part in found.second}
    for number in range(rounds if wanted else 0):
        say(f"{rows:,} rows: once more {', '.join(found.second)}: round {number + 1} of {rounds}")
        for _, part, turn in both.run_round(wanted, number=rounds + number):
            if part in found.second:
                found.second[part].append(turn)
    return found


class _NotThereError(StepError):
    """The other tree cannot run a step."""


@dataclass
class _Both:
    """Runs a step in both trees, then the next. left_out: steps that only ours can run, and why."""

    ours: Tree
    theirs: Tree
    left_out: dict[str, str]

    def run_round(self, sections: set[Section] | None, *, number: int) -> Iterator[tuple[Section, str, Turn]]:
        """The parts of each step of the engine. The floor is the same for both, and checks are not steps.

        number: of the round, from 0. Ours is first in the even ones.
        """
        is_first = number == 0
        rounds = [Round(tree.folder, tree.dsn, is_first=is_first) for tree in (self.ours, self.theirs)]
        for (section, step), _ in zip(*(steps_of(one, sections) for one in rounds), strict=True):
            if step.side == "floor" or step.name.startswith("checked_rows."):
                continue
            if step.name in self.left_out:
                # What comes next may be faster for it, as it is for a user.
                self.ours.run(step.name)
                continue
            try:
                turns = self._take_turns(step, ours_first=number % 2 == 0)
            except _NotThereError as error:
                if not is_first:
                    raise
                self.left_out[step.name] = str(error)
                continue
            for part, turn in turns.items():
                yield section, step.before + part, turn

    def _take_turns(self, step: Step, *, ours_first: bool) -> dict[str, Turn]:
        here = self.ours.run(step.name) if ours_first else None
        try:
            there = self.theirs.run(step.name)
        except StepError as error:
            raise _NotThereError(str(error).splitlines()[-1]) from error
        here = here or self.ours.run(step.name)
        return {
            part: Turn(Cost(here.cpu[part], here.peak_mb), Cost(there.cpu[part], there.peak_mb))
            for part in here.cpu
            if part in there.cpu
        }


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """The commit in a git worktree, which is removed at the end, also after an error."""
    try:
        _git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        yield folder
    finally:
        # Twice: an interrupted `add` leaves a locked worktree. If there is none, there is nothing to do.
        subprocess.run(
            ["git", "worktree", "remove", "--force", "--force", str(folder)],
            cwd=PROJECT,
            capture_output=True,
            check=False,
        )


def commit_of(name: str) -> str | None:
    """The short hash of the commit with this name; None if git knows none."""
    try:
        return _git("rev-parse", "--verify", "--quiet", "--short", f"{name}^{{commit}}")
    except subprocess.CalledProcessError:
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def against_table(one: Comparison, commit: str, titles: Mapping[str, str]) -> Iterator[str]:
    """One line a part: medians of both trees, medians of the ratios, and the verdict."""
    rounds = len(next(iter(one.first.values())))
    yield f"{one.rows:,} rows: this tree beside {commit}, medians of {rounds}; ratios are this tree / {commit}"
    yield f"  {'':<24} {'CPU s':>7} {commit:>9} {'ratio':>6} {'peak MB':>8} {commit:>9} {'ratio':>6}"
    for part, turns in one.first.items():
        ours, theirs = (
            Cost(*(median(values) for values in zip(*side, strict=True))) for side in zip(*turns, strict=True)
        )
        times = ratio(turns)
        yield (
            f"  {titles.get(part, part):<24} {ours.cpu_seconds:>7.2f} {theirs.cpu_seconds:>9.2f} "
            f"{times.cpu_seconds:>6.2f} {ours.peak_mb:>8.0f} {theirs.peak_mb:>9.0f} {times.peak_mb:>6.2f}  "
            f"{_verdict(one, part)}"
        )
    for name, reason in one.left_out.items():
        yield f"  left out: {name}: {reason}"
    yield ""


def _verdict(one: Comparison, part: str) -> str:
    if part not in one.second:
        return "over" if over(one.first[part]) else "ok"
    again = ratio(one.second[part])
    word = "worse" if one.worse(part) else "ok"
    return f"{word}; once more: CPU {again.cpu_seconds:.2f}, memory {again.peak_mb:.2f}"


def against_json(one: Comparison) -> dict[str, Any]:
    """Each turn, the ratios, and what is worse."""
    return {
        "rows": one.rows,
        "left_out": one.left_out,
        "steps": {
            part: {
                "ratio": ratio(turns)._asdict(),
                "again": ratio(one.second[part])._asdict() if part in one.second else None,
                "worse": sorted(one.worse(part)),
                "turns": turns + one.second.get(part, []),
            }
            for part, turns in one.first.items()
        },
    }
