"""A year of runs as a state machine: whatever happens, each table is what the model says."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.year.model import (
    PASSING,
    UNSENT,
    Copied,
    Key,
    Order,
    Outcome,
    Request,
    Row,
    Table,
    failures,
    look_up,
    systematic,
)
from tests.year.world import BUILD, JOIN, STEPS, Clock, Run, World, outcome_of, request_of

from greennode_batch.cleanup.retention import remove_run
from greennode_batch.errors import AccountingError, ConfigError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import SqlTarget
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

MODELS = ("google/gemma-4-31b-it", "qwen/qwen3.6-flash")
DAY = 86_400.0
JOBS = ("first", "second")
KEYS = st.integers(0, 11)
TEXTS = st.sampled_from(["", "a", "b", "c", "d", "e"])
ROWS = st.dictionaries(KEYS, TEXTS, min_size=1, max_size=8)
TABLES = ("answers", "copies")
MAX_FAILED = 0.3
TARGETS = [TABLES[:1], TABLES[1:], TABLES, TABLES[::-1]]

FAULTS: dict[str, list[dict[str, Any]]] = {
    "expired": [{"kind": "expired", "fraction": 0.5}],
    "expired, listed": [{"kind": "expired", "fraction": 0.5, "listed": True}],
    "all expired": [{"kind": "expired", "fraction": 0.0, "count": None}],
    "filtered": [{"kind": "content_filter", "rate": 0.5}],
    "cut off": [{"kind": "cut_off", "rate": 0.5}],
    "rejected": [{"kind": "line_error", "status": 400, "rate": 0.5}],
    "overloaded": [{"kind": "line_error", "status": 503, "rate": 0.7}],
    "forbidden": [{"kind": "line_error", "status": 403, "rate": 0.5}],
    "lines lost": [{"kind": "missing", "rate": 0.5}],
    "create dropped": [{"kind": "reset_after", "endpoint": "POST /batches"}],
    "create failed": [{"kind": "status", "endpoint": "POST /batches", "status": 503}],
    "list late": [{"kind": "late_in_list", "seconds": 20}],
    "batch out of sight": [{"kind": "not_found", "looks": 2}],
}
NOTES = "*/.answered-*"
MODEL_LISTS = [MODELS[:1], MODELS[1:], MODELS]
EDITS = [
    {"prompt": "Say"},
    {"prompt": "Tell"},
    {"max_tokens": 50},
    {"max_tokens": 60},
    *({"models": some} for some in MODEL_LISTS),
]


@dataclass(repr=False)
class Job:
    """A job as it stands, its source, and its runs. is_listed: it asks all of its models; else the first alone."""

    name: str
    rows: dict[int, str] = field(default_factory=dict)
    prompt: str = "Say"
    max_tokens: int = 50
    is_listed: bool = False
    models: tuple[str, ...] = MODELS[:1]
    targets: tuple[str, ...] = TABLES[:1]
    runs: list[Play] = field(default_factory=list)

    def declared(self, **options: Any) -> BatchJob:
        """As a user writes it."""
        return BatchJob(
            name=self.name,
            source=FileSource(path="rows"),
            key="id",
            model=list(self.models) if self.is_listed else self.models[0],
            prompt=f"{{{{ text and '{self.prompt} ' ~ text }}}}",
            params={"max_tokens": self.max_tokens},
            target=tuple(SqlTarget(conn_id="db", table=name) for name in self.targets),
            canary=0,
            max_failed_ratio=MAX_FAILED,
            # A completed batch of more, without a line of results, stops the run.
            max_shard_requests=3,
            **options,
        )

    def asks(self, rows: Mapping[int, str]) -> dict[Key, Request]:
        """What each of these rows asks of each model; nothing, where its text is empty."""
        params = str(self.max_tokens)
        return {
            Key(number, model if self.is_listed else ""): (model, params, f"{self.prompt} {text}") if text else ()
            for number, text in rows.items()
            for model in self.models[: None if self.is_listed else 1]
        }

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        printer.text(f"jobs[{self.name!r}]")


class Options(NamedTuple):
    """What a run may say of itself. limit: only the first rows."""

    refresh: Literal["changed", "all"] = "changed"
    orphaned_rows: Literal["report", "remove", "ignore"] = "report"
    retry_final: bool = False
    limit: int | None = None

    def of_job(self) -> dict[str, Any]:
        """As options of a job: who sees a part of the source cannot say what has left it."""
        orphaned_rows = self.orphaned_rows if self.limit is None else "ignore"
        return {"refresh": self.refresh, "orphaned_rows": orphaned_rows, "retry_final": self.retry_final}


@dataclass(repr=False)
class Play:
    """A run, as the model follows it.

    asked, unsent, copied: by key. targets: by name, as its latest build knew them. removed: how many rows each of its
    builds has removed. left_alone: how many rows need no request. step: how many steps it has done. is_removed:
    whether its staging is gone.
    """

    job: Job
    run: Run
    options: Options
    requested: dict[Key, Request] = field(default_factory=dict)
    unsent: set[Key] = field(default_factory=set)
    copied: dict[Key, Copied] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    outcomes: dict[Request, Outcome] = field(default_factory=dict)
    removed: list[tuple[Order, int]] = field(default_factory=list)
    left_alone: int = 0
    step: int = 0
    is_removed: bool = False

    @property
    def is_sent(self) -> bool:
        """Whether its shards are at the server."""
        return self.step > BUILD + 1

    def written(self, target: str) -> Iterator[tuple[Key, Row]]:
        """The rows that its join writes into a target."""
        is_systematic = systematic(self.outcomes)

        def row(request: Request, outcome: Outcome) -> Row:
            kind = PASSING if is_systematic and outcome.kind != "good" else outcome.kind
            return Row(request, outcome._replace(kind=kind), self.job.name, self.run.run_id, self.run.order)

        for key, request in self.requested.items():
            yield key, row(request, self.outcomes[request])
        for key in self.unsent:
            yield key, row((), UNSENT)
        for key, one in self.copied.items():
            if target in one.into:
                owner = (self.job.name, self.run.run_id, self.run.order)
                yield key, Row(one.request, one.outcome, *owner)

    def is_failure(self) -> bool:
        """Whether too many of its own rows, or of many requests, have no answer."""
        rows = [*map(self.outcomes.__getitem__, self.requested.values()), *(UNSENT for _ in self.unsent)]
        answers_for = len(rows) + len(self.copied) + self.left_alone
        requested = {request: self.outcomes[request] for request in self.requested.values()}
        return failures(rows) > answers_for * MAX_FAILED or (systematic(requested) and failures(requested.values()) > 0)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        printer.text(self.run.run_id)


OPTIONS = st.builds(
    Options,
    refresh=st.sampled_from(["changed", "changed", "changed", "all"]),
    orphaned_rows=st.sampled_from(["report", "report", "remove", "ignore"]),
    retry_final=st.sampled_from([False, False, False, True]),
    limit=st.sampled_from([None, None, None, 3]),
)


class Year(RuleBasedStateMachine):
    """Two jobs, each on one of two tables or on both."""

    counts: ClassVar[Counter[str]] = Counter()
    _stack: ClassVar[ExitStack] = ExitStack()
    _served: ClassVar[tuple[Any, Clock] | None] = None

    def __init__(self) -> None:
        super().__init__()
        if Year._served is None:
            clock = Clock()
            Year._served = self._stack.enter_context(running(Settings(batch_seconds=0.0, clock=clock))), clock
        emulator, clock = Year._served
        emulator.reset()
        clock.now = (clock.now // DAY + 1) * DAY
        self.root = Path(tempfile.mkdtemp(prefix="greennode-year-"))
        self.connection = sqlite3.connect(":memory:")
        self.world = World(emulator, clock, self.root, self.connection)
        self.tables = {name: Table() for name in TABLES}
        self.jobs = {name: Job(name) for name in JOBS}
        self.numbers = itertools.count(1)

    def teardown(self) -> None:
        self.world.close()
        self.connection.close()
        shutil.rmtree(self.root)

    @initialize(of_first=ROWS, of_second=ROWS, is_listed=st.booleans())
    def begin(self, of_first: dict[int, str], of_second: dict[int, str], is_listed: bool) -> None:  # noqa: FBT001
        for job, rows in zip(self.jobs.values(), (of_first, of_second), strict=True):
            job.rows.update(rows)
            job.is_listed = is_listed

    @rule(job=st.sampled_from(JOBS), rows=ROWS)
    def put_rows(self, job: str, rows: dict[int, str]) -> None:
        """Rows are inserted, changed, or come back."""
        self._count("rows put")
        self.jobs[job].rows.update(rows)

    @precondition(lambda self: any(job.rows for job in self.jobs.values()))
    @rule(data=st.data())
    def delete_rows(self, data: st.DataObject) -> None:
        """Rows leave the source."""
        self._count("rows deleted")
        job = data.draw(st.sampled_from([one for one in self.jobs.values() if one.rows]))
        for key in data.draw(st.sets(st.sampled_from(sorted(job.rows)), min_size=1, max_size=4)):
            del job.rows[key]

    @rule(job=st.sampled_from(JOBS), change=st.sampled_from(EDITS))
    def edit_job(self, job: str, change: dict[str, Any]) -> None:
        """The prompt, the parameters or the model is another one."""
        self._count("job edited")
        for name, value in change.items():
            setattr(self.jobs[job], name, value)

    @rule(job=st.sampled_from(JOBS), tables=st.sampled_from(TARGETS))
    def edit_targets(self, job: str, tables: tuple[str, ...]) -> None:
        """A target is added, removed, or another one."""
        self._count("targets edited")
        self.jobs[job].targets = tables

    @rule(
        job=st.sampled_from(JOBS),
        options=OPTIONS,
        faults=st.lists(st.sampled_from(sorted(FAULTS)), max_size=2),
        days=st.sampled_from([1, 1, 1, 0, -1, 30]),
        steps=st.sampled_from(range(1, len(STEPS) + 1)),
    )
    def run(self, job: str, options: Options, faults: list[str], days: int, steps: int) -> None:
        """A run of a job, for the day that it is or another one. It may be held up behind any of its steps."""
        self._count("run")
        play = self._begin(job, options, days)
        with self._faults(faults):
            self._go(play, 0, steps)
        play.job.runs.append(play)

    @rule(job=st.sampled_from(JOBS), orphaned_rows=st.sampled_from(["report", "remove"]))
    def run_daily(self, job: str, orphaned_rows: Literal["report", "remove"]) -> None:
        """A run as the schedule makes it: for yesterday, with nothing in its way."""
        self._count("run")
        play = self._begin(job, Options(orphaned_rows=orphaned_rows), 1)
        self._go(play, 0, len(STEPS))
        play.job.runs.append(play)

    @rule(job=st.sampled_from(JOBS), options=OPTIONS)
    def run_dry(self, job: str, options: Options) -> None:
        """A dry run: it changes nothing, and nothing is sent."""
        self._count("dry run")
        play = self._begin(job, options._replace(orphaned_rows="report"), 1)
        play.run.job = play.job.declared(**play.options.of_job())
        play.run.build_dry(dict(itertools.islice(play.job.rows.items(), options.limit)))
        self._audit(play)

    def _begin(self, job: str, options: Options, days: int) -> Play:
        one = self.jobs[job]
        self.world.clock.now += DAY
        data_until = self.world.clock.now + (days - 1) * DAY
        run = self.world.run(one.declared(), f"run {next(self.numbers)}", dag=job, data_until=data_until)
        return Play(one, run, options)

    @precondition(lambda self: self._plays(is_over=False))
    @rule(data=st.data(), faults=st.lists(st.sampled_from(sorted(FAULTS)), max_size=1))
    def go_on(self, data: st.DataObject, faults: list[str]) -> None:
        """A run that was held up goes on, whatever has happened since."""
        self._count("run goes on")
        play = data.draw(st.sampled_from(self._plays(is_over=False)))
        with self._faults(faults):
            self._go(play, play.step, len(STEPS))

    @precondition(lambda self: self._plays(is_over=True))
    @rule(data=st.data(), step=st.sampled_from(range(len(STEPS))))
    def clear(self, data: st.DataObject, step: int) -> None:
        """A task of an earlier run is cleared, with all that follows it."""
        self._count("task cleared")
        self._go(data.draw(st.sampled_from(self._plays(is_over=True))), step, len(STEPS))

    @precondition(lambda self: self._plays(is_over=True))
    @rule(data=st.data())
    def remove_old_run(self, data: st.DataObject) -> None:
        """Retention removes what a run has left in staging; its tasks cannot be cleared any more."""
        self._count("run removed")
        play = data.draw(st.sampled_from(self._plays(is_over=True)))
        assert remove_run(play.run.folder, now=self.world.clock(), is_over=lambda: True)
        play.is_removed = True
        with pytest.raises(ConfigError, match="removed"):
            play.run.go(["build"], play.job.rows)
        self._audit(play)

    @precondition(lambda self: any(job.runs for job in self.jobs.values()))
    @rule()
    def lose_staging(self) -> None:
        """The disk of staging is lost, with all runs: what is in the tables stays answered."""
        self._count("staging lost")
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for job in self.jobs.values():
            for play in job.runs:
                play.is_removed = True
        self.world.confirm_profile()

    @precondition(lambda self: any(self.root.glob(NOTES)))
    @rule()
    def lose_notes(self) -> None:
        """What only spares work is gone."""
        self._count("notes lost")
        for path in self.root.glob(NOTES):
            path.unlink()

    @invariant()
    def the_tables_are_what_the_model_says(self) -> None:
        for name, table in self.tables.items():
            held = self.world.held(name)
            is_listed = any(job.is_listed for job in self.jobs.values())
            shown = {
                Key(row["id"], row["model"] if is_listed else ""): (row["status"], row["run_id"], row["greennode_job"])
                for row in held
            }
            wanted = {key: (row.outcome.status, row.run, row.job) for key, row in table.rows.items()}
            only_shown, only_wanted = set(shown.items()) - set(wanted.items()), set(wanted.items()) - set(shown.items())
            assert shown == wanted, f"{name} has {sorted(only_shown)}, and should have {sorted(only_wanted)}"

    def _plays(self, *, is_over: bool) -> list[Play]:
        """The last runs of each job that are over, or that are not; without those that staging has no more."""
        plays = [play for job in self.jobs.values() for play in job.runs[-5:] if not play.is_removed]
        return [play for play in plays if (play.step == len(STEPS)) is is_over]

    def _go(self, play: Play, start: int, stop: int) -> None:
        """Do some steps, with the engine and with the model."""
        rows = dict(itertools.islice(play.job.rows.items(), play.options.limit))
        if start == BUILD:
            play.run.job = play.job.declared(**play.options.of_job())
            self._build(play, rows)
        is_lost = start > JOIN and any(self._lacks(play, name) > self._removed_since(play) for name in play.targets)
        with pytest.raises(AccountingError, match="not in the target") if is_lost else nullcontext():
            play.run.go(STEPS[start:stop], rows)
        play.step = stop
        self._audit(play)
        for name in play.targets if start <= JOIN < stop else ():
            for key, row in play.written(name):
                self.tables[name].write(key, row)
        if stop == len(STEPS) and not is_lost:
            assert play.run.is_failed == play.is_failure(), f"the run is a failure: {play.run.is_failed}"

    def _build(self, play: Play, rows: Mapping[int, str]) -> None:
        # What is sent stays, with the rows beside it that are not sent.
        is_kept = play.is_sent and play.requested
        play.requested, play.unsent = (play.requested, play.unsent) if is_kept else ({}, set())
        play.targets, play.copied, play.left_alone = play.job.targets, {}, 0
        options = play.options
        tables = {name: self.tables[name] for name in play.targets}
        asks = play.job.asks(rows)
        for key in asks.keys() - play.requested.keys() - play.unsent:
            request, run = asks[key], (play.job.name, play.run.run_id)
            found = None
            if options.refresh == "changed":
                found = look_up(tables, key, request, run=run, retry_final=options.retry_final)
            if not request and (found is None or found.into):
                play.unsent.add(key)
            elif found is None:
                play.requested[key] = request
            elif found.into:
                play.copied[key] = found
            else:
                play.left_alone += 1
        if options.of_job()["orphaned_rows"] == "remove" and rows:
            order = (play.run.data_until, self.world.clock.now)
            removed = [self._remove(table, play.job, rows, order) for table in tables.values()]
            play.removed.append((order, max(removed)))

    @staticmethod
    def _remove(table: Table, job: Job, rows: Mapping[int, str], order: Order) -> int:
        left = [key for key, row in table.rows.items() if row.job == job.name and key.number not in rows]
        left = [key for key in left if not job.is_listed or key.model in job.models]
        left = [key for key in left if table.rows[key].order <= order]
        for key in left:
            del table.rows[key]
        return len(left)

    def _lacks(self, play: Play, name: str) -> int:
        return sum(key not in self.tables[name].rows for key, _ in play.written(name))

    def _removed_since(self, play: Play) -> int:
        """How many rows later runs of the job have removed."""
        others = [one for one in play.job.runs if one is not play]
        return sum(count for one in others for order, count in one.removed if order >= play.run.order)

    def _audit(self, play: Play) -> None:
        """By the server's own files all that was sent is what had to be, each once an attempt."""
        times: Counter[Request] = Counter()
        for requests, results in self.world.server.news():
            by_id = {line["custom_id"]: line for line in results}
            for line in requests:
                request = request_of(line)
                times[request] += 1
                before = play.outcomes.get(request)
                assert before is None or before.kind == PASSING, f"{request} is asked again: it was {before.status}"
                play.outcomes[request] = outcome_of(by_id.get(line["custom_id"]))
        if play.is_sent:
            assert set(play.outcomes) >= set(play.requested.values()), "a request was not sent"
        assert set(times) <= set(play.requested.values()), "a request was sent that nobody needs"
        assert max(times.values(), default=0) <= 2, "a request was sent more often than there are attempts"

    @contextmanager
    def _faults(self, names: list[str]) -> Iterator[None]:
        if names:
            self.world.emulator.faults([fault for name in names for fault in FAULTS[name]])
        yield
        if names:
            self.world.emulator.disarm()

    def _count(self, what: str) -> None:
        Year.counts[what] += 1
