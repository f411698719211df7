"""One round of steps: which run, in which order, and what is cleared before them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg

_ON_TABLE = "table: "


@dataclass(frozen=True)
class Step:
    """`module.function` of this folder. before: the prefix of the names of its parts."""

    name: str
    before: str = ""

    @property
    def side(self) -> Literal["engine", "floor"] | None:
        """Whose cost it measures; None for steps that make rows or check them."""
        module = self.name.partition(".")[0]
        return "engine" if module == "engine_steps" else "floor" if module == "floor" else None


@dataclass(frozen=True)
class Round:
    """A folder with rows. dsn: a database that has them as well; is_first: no answers have been made or checked yet."""

    folder: Path
    dsn: str | None
    is_first: bool

    def clear_staging(self) -> None:
        """Forget what was built."""
        shutil.rmtree(self.folder / "engine" / "staging", ignore_errors=True)

    def drop_targets(self) -> None:
        """Forget what was written to the database."""
        assert self.dsn is not None
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS bench_floor, bench_engine")


Section = Callable[[Round], Iterator[Step]]


def steps_of(one: Round, sections: Collection[Section] | None = None) -> Iterator[tuple[Section, Step]]:
    """The steps in order. Before it yields a step, it clears what the step must not find, so run each before the next.

    sections: only these, and those that they need.
    """
    wanted = set(_NEEDS if sections is None else sections)
    for section in reversed(_NEEDS):
        if section in wanted:
            wanted.update(_NEEDS[section])
    for section in _NEEDS:
        if section in wanted and (one.dsn is not None or section not in _NEED_DATABASE):
            for step in section(one):
                yield section, step


def _build_from_table(one: Round) -> Iterator[Step]:
    one.clear_staging()
    yield Step("floor.build_from_table", _ON_TABLE)
    yield Step("engine_steps.build_from_table", _ON_TABLE)


def _build_from_file(one: Round) -> Iterator[Step]:
    one.clear_staging()
    yield Step("floor.build_from_file")
    yield Step("engine_steps.build_from_file")
    if one.is_first:
        yield Step("made_rows.write_floor_results")
        yield Step("made_rows.write_engine_results")


def _build_in_parts(_one: Round) -> Iterator[Step]:
    yield Step("engine_steps.write_parts")
    yield Step("engine_steps.build_from_parts")


def _collect_typed(one: Round) -> Iterator[Step]:
    yield Step("engine_steps.collect_typed")
    if one.is_first:
        yield Step("checked_rows.check_typed")


def _collect(_one: Round) -> Iterator[Step]:
    yield Step("engine_steps.collect")


def _write_files(one: Round) -> Iterator[Step]:
    yield Step("floor.write_to_files")
    yield Step("engine_steps.write_to_files")
    yield Step("engine_steps.report_files")
    if one.is_first:
        yield Step("checked_rows.check_files")


def _write_table(one: Round) -> Iterator[Step]:
    one.drop_targets()
    yield Step("floor.write_to_table", _ON_TABLE)
    yield Step("engine_steps.write_to_table", _ON_TABLE)
    yield Step("engine_steps.report_table", _ON_TABLE)
    if one.is_first:
        yield Step("checked_rows.check_tables")


def _build_changed(_one: Round) -> Iterator[Step]:
    """A run over rows that the table has answered, except one in a hundred, beside a plain read of the rows."""
    yield Step("engine_steps.cache_answers")
    yield Step("made_rows.change_table")
    yield Step("engine_steps.scan", _ON_TABLE)
    yield Step("engine_steps.build_changed", _ON_TABLE)
    yield Step("checked_rows.check_asked")
    yield Step("made_rows.load_table")


# In order: each section, and those whose files or tables it reads.
_NEEDS: dict[Section, tuple[Section, ...]] = {
    _build_from_table: (),
    _build_from_file: (),
    _build_in_parts: (_build_from_file,),
    _collect_typed: (_build_from_file,),
    _collect: (_build_from_file,),
    _write_files: (_collect,),
    _write_table: (_collect,),
    _build_changed: (_write_table,),
}
_NEED_DATABASE = (_build_from_table, _write_table, _build_changed)
