"""A year of runs as a state machine: whatever happens, each target is what the model says."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.year.databases import Postgres, Sqlite
from tests.year.faults import FAULTS
from tests.year.jobs import EDITS, MODELS, TARGETS, Job, Options
from tests.year.model import PASSING, Asker, Dataset, Key, Order, Request, Row, Table, Target, Values, look_up
from tests.year.play import Play
from tests.year.source_keys import LOCAL_TIMES, NUMBERS
from tests.year.world import BUILD, JOIN, REPORT, STEPS, Clock, StoppedError, World

from greennode_batch.cleanup.retention import remove_run
from greennode_batch.errors import AccountingError, ConfigError
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

DAY = 86_400.0
JOBS = ("first", "second")
KEYS = st.integers(0, 11)
TEXTS = st.sampled_from(["", "a", "b", "c", "d", "e"])
ROWS = st.dictionaries(KEYS, TEXTS, min_size=1, max_size=8)
NOTES = "*/.answered-*"
SETS_OF_TARGETS = [chosen for size in (1, 2, 3) for chosen in itertools.permutations(TARGETS, size)]
OPTIONS = st.builds(
    Options,
    refresh=st.sampled_from(["changed", "changed", "changed", "all"]),
    orphaned_rows=st.sampled_from(["report", "report", "remove", "ignore"]),
    retry_final=st.sampled_from([False, False, False, True]),
    limit=st.sampled_from([None, None, None, 3]),
)
FAULT = st.sampled_from(sorted(FAULTS))
DAYS = st.sampled_from([1, 1, 1, 0, -1, 30])


class Year(RuleBasedStateMachine):
    """Two jobs, each on some of three targets. dsn: of a database of PostgreSQL, for some years, if there is one."""

    counts: ClassVar[Counter[str]] = Counter()
    dsn: ClassVar[str | None] = None
    _stack: ClassVar[ExitStack] = ExitStack()
    _served: ClassVar[tuple[Any, Clock] | None] = None
    world: World
    is_armed = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="greennode-year-"))
        self.targets: dict[str, Target] = {name: Table() for name in TARGETS[:-1]} | {TARGETS[-1]: Dataset()}
        self.jobs = {name: Job(name) for name in JOBS}
        self.numbers = itertools.count(1)

    def teardown(self) -> None:
        self.world.close()
        self.world.database.connection.close()
        shutil.rmtree(self.folder)

    @initialize(
        of_first=ROWS,
        of_second=ROWS,
        is_listed=st.booleans(),
        is_sampled=st.sampled_from([False, False, True]),
        has_local_times=st.booleans(),
        is_postgres=st.booleans(),
    )
    def begin(
        self,
        of_first: dict[int, str],
        of_second: dict[int, str],
        *,
        is_listed: bool,
        is_sampled: bool,
        has_local_times: bool,
        is_postgres: bool,
    ) -> None:
        if Year._served is None:
            clock = Clock()
            Year._served = self._stack.enter_context(running(Settings(batch_seconds=0.0, clock=clock))), clock
        emulator, clock = Year._served
        emulator.reset()
        clock.now = (clock.now // DAY + 1) * DAY
        database = Postgres(self.dsn) if self.dsn and is_postgres else Sqlite()
        self.world = World(emulator, clock, self.folder, database, LOCAL_TIMES if has_local_times else NUMBERS)
        for job, rows in zip(self.jobs.values(), (of_first, of_second), strict=True):
            job.rows.update(rows)
            job.is_listed, job.is_sampled = is_listed, is_sampled

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
        """The prompt, the parameters, the models, the samples, the answer model or live mode is another one."""
        self._count("job edited")
        for name, value in change.items():
            setattr(self.jobs[job], name, value)

    @rule(job=st.sampled_from(JOBS), chosen=st.sampled_from(SETS_OF_TARGETS))
    def edit_targets(self, job: str, chosen: tuple[str, ...]) -> None:
        """A target is added, removed, or another one."""
        self._count("targets edited")
        self.jobs[job].targets = chosen

    @rule(job=st.sampled_from(JOBS), options=OPTIONS, faults=st.lists(FAULT, max_size=2), days=DAYS)
    def run(self, job: str, options: Options, faults: list[str], days: int) -> None:
        """A run of a job, for the day that it is or another one."""
        self._run(job, options, days=days, faults=faults)

    @rule(job=st.sampled_from(JOBS), fault=FAULT)
    def run_under_a_fault(self, job: str, fault: str) -> None:
        """A run of a job under one fault."""
        self._run(job, Options(), faults=[fault])

    @rule(job=st.sampled_from(JOBS), orphaned_rows=st.sampled_from(["report", "remove"]))
    def run_daily(self, job: str, orphaned_rows: Literal["report", "remove"]) -> None:
        """A run as the schedule makes it: for yesterday, with nothing in its way."""
        self._run(job, Options(orphaned_rows=orphaned_rows))

    @rule(job=st.sampled_from(JOBS), limit=st.integers(1, 5))
    def run_limited(self, job: str, limit: int) -> None:
        """A run of a few rows, as the trigger form makes it."""
        self._run(job, Options(limit=limit))

    @rule(job=st.sampled_from(JOBS), fault=FAULT)
    def run_final_rows_again(self, job: str, fault: str) -> None:
        """A run that asks again what is final, under a fault."""
        self._run(job, Options(retry_final=True), faults=[fault])

    @rule(job=st.sampled_from(JOBS), fault=FAULT)
    def run_all_rows_again(self, job: str, fault: str) -> None:
        """A run that asks again what is answered, under a fault."""
        self._run(job, Options(refresh="all"), faults=[fault])

    @rule(job=st.sampled_from(JOBS), under=st.integers(1, 9), options=OPTIONS)
    def run_live(self, job: str, under: int, options: Options) -> None:
        """A run whose attempts of few requests are answered live."""
        before, self.jobs[job].live_under = self.jobs[job].live_under, under
        self._run(job, options)
        self.jobs[job].live_under = before

    @rule(job=st.sampled_from(JOBS), models=st.sampled_from([MODELS[:1], MODELS[1:]]), options=OPTIONS)
    def run_some_models(self, job: str, models: tuple[str, ...], options: Options) -> None:
        """A run of other models, as the trigger form makes it."""
        before, self.jobs[job].models = self.jobs[job].models, models
        self._run(job, options)
        self.jobs[job].models = before

    @rule(job=st.sampled_from(JOBS), options=OPTIONS, steps=st.sampled_from(range(1, len(STEPS))))
    def begin_run(self, job: str, options: Options, steps: int) -> None:
        """A run that is held up behind one of its steps."""
        self._run(job, options, steps=steps)

    @rule(job=st.sampled_from(JOBS), options=OPTIONS, faults=st.lists(FAULT, max_size=1), stop_at=st.integers(0, 20))
    def run_killed(self, job: str, options: Options, faults: list[str], stop_at: int) -> None:
        """A run whose worker is killed at one of its requests, or before its reply."""
        self._run(job, options, faults=faults, stop_at=stop_at)

    def _run(
        self,
        job: str,
        options: Options,
        *,
        days: int = 1,
        faults: list[str] | None = None,
        steps: int = len(STEPS),
        stop_at: int | None = None,
    ) -> None:
        self._count("run")
        play = self._begin(job, options, days)
        play.job.runs.append(play)
        with self._faults(faults or []):
            self._go(play, 0, steps, stop_at=stop_at)

    @rule(job=st.sampled_from(JOBS), options=OPTIONS)
    def run_dry(self, job: str, options: Options) -> None:
        """A dry run: it changes nothing, and nothing is sent."""
        self._count("dry run")
        play = self._begin(job, options._replace(orphaned_rows="report"), 1)
        play.run.build_dry(play.job.rows)
        self._audit(play)

    def _begin(self, job: str, options: Options, days: int) -> Play:
        one = self.jobs[job]
        self.world.clock.now += DAY
        # A day's data ends at local midnight.
        midnight = datetime.fromtimestamp(self.world.clock.now).replace(hour=0, minute=0, second=0, microsecond=0)  # noqa: DTZ006
        data_until = (midnight + timedelta(days=days)).timestamp()
        name = f"run {next(self.numbers)}"
        declared = one.declared(str(self.world.dataset), answer=one.answer, **options.of_job())
        run = self.world.run(declared, name, dag=job, data_until=data_until, limit=options.limit)
        return Play(one, run, options)

    @precondition(lambda self: self._plays(is_over=False))
    @rule(data=st.data(), faults=st.lists(FAULT, max_size=1))
    def go_on(self, data: st.DataObject, faults: list[str]) -> None:
        """A run that was held up or killed goes on, whatever has happened since."""
        self._count("run goes on")
        play = data.draw(st.sampled_from(self._plays(is_over=False)))
        with self._faults(faults):
            self._go(play, play.step, len(STEPS))

    @precondition(lambda self: self._plays(is_over=True))
    @rule(data=st.data(), step=st.sampled_from(range(len(STEPS))), faults=st.lists(FAULT, max_size=1))
    def clear(self, data: st.DataObject, step: int, faults: list[str]) -> None:
        """A task of an earlier run is cleared, with all that follows it."""
        self._count("task cleared")
        play = data.draw(st.sampled_from(self._plays(is_over=True)))
        with self._faults(faults):
            self._go(play, step, len(STEPS))

    @precondition(lambda self: self._plays(is_over=True))
    @rule(data=st.data())
    def remove_old_run(self, data: st.DataObject) -> None:
        """Retention removes what a run has left in staging; its tasks cannot be cleared any more."""
        self._count("run removed")
        play = data.draw(st.sampled_from(self._plays(is_over=True)))
        assert remove_run(play.run.folder, now=self.world.clock(), is_over=lambda: True)
        play.is_removed = True
        with pytest.raises(ConfigError, match="removed"):
            play.run.go("build", play.job.rows)
        self._audit(play)

    @precondition(lambda self: len(self._plays(is_over=True)) > 4)
    @rule()
    def lose_staging(self) -> None:
        """The disk of staging is lost, with all runs: what is in the targets stays answered."""
        self._count("staging lost")
        self.world.lose_staging()
        for job in self.jobs.values():
            for play in job.runs:
                play.is_removed = True

    @precondition(lambda self: any(self.world.root.glob(NOTES)))
    @rule()
    def lose_notes(self) -> None:
        """What only spares work is gone."""
        self._count("notes lost")
        for path in self.world.root.glob(NOTES):
            path.unlink()

    @invariant()
    def the_targets_are_what_the_model_says(self) -> None:
        for name, target in self.targets.items():
            rows = target.rows
            shown = [self._shown(row, rows) for row in self.world.held(name)]
            wanted = [(key, row.outcome.status, row.run, row.job, row.outcome.values) for key, row in rows.items()]
            if isinstance(target, Dataset):
                # Rows that others replace stay until a report.
                others = {(key, row.run, row.job) for of_run in target.of_runs.values() for key, row in of_run.items()}
                shown = [one for one in shown if one in wanted or (one[0], *one[2:4]) not in others]
            only_shown, only_wanted = Counter(shown) - Counter(wanted), Counter(wanted) - Counter(shown)
            assert only_shown == only_wanted, f"{name} has {[*only_shown]}, and should have {[*only_wanted]}"

    def _shown(self, row: Mapping[str, Any], rows: Mapping[Key, Row]) -> tuple[Key, str, str, str, Values]:
        """A row as the model has it, with the fields of its own answer model."""
        job = self.jobs[JOBS[0]]
        key = Key(row["id"], row["model"] if job.is_listed else "", row["sample"] if job.is_sampled else 1)
        fields = rows[key].outcome.values if key in rows else ()
        values = tuple((name, row[name]) for name, _ in fields)
        return key, row["status"], row["run_id"], row["greennode_job"], values

    def _plays(self, *, is_over: bool) -> list[Play]:
        """The last runs of each job that are over, or that are not; without those that staging has no more."""
        plays = [play for job in self.jobs.values() for play in job.runs[-5:] if not play.is_removed]
        return [play for play in plays if (play.step == len(STEPS)) is is_over]

    def _go(self, play: Play, start: int, stop: int, *, stop_at: int | None = None) -> None:
        """Do some steps, with the engine and with the model. stop_at: the request at which the worker is killed."""
        rows = dict(play.job.rows)
        # Each task goes by the job as it is declared now. Answers that are read already, or copied, are not read again.
        play.targets = play.job.targets
        if start == BUILD or (start == BUILD + 1 and not play.copied):
            play.answer = play.job.answer
        play.run.job = play.job.declared(str(self.world.dataset), answer=play.answer, **play.options.of_job())
        if start == BUILD:
            self._build(play, rows)
        self.world.line.stop_at = stop_at
        for step in range(start, stop):
            play.step = step
            try:
                if step == REPORT:
                    self._report(play, rows)
                else:
                    play.run.go(STEPS[step], rows)
            except StoppedError:
                self.world.server.leave_open(play.run.run_id)
                return
            if step == JOIN:
                self._audit(play)  # nothing is sent after that
                for name in play.targets:
                    for key, row in play.written(name):
                        self.targets[name].write(key, row)
        self.world.line.stop_at = None
        play.step = stop
        if stop <= JOIN:
            self._audit(play)

    def _report(self, play: Play, rows: Mapping[int, str]) -> None:
        is_lost = any(
            self._lacks(play, name) > self._removed_since(play) or self._is_left_to_others(play, name)
            for name in play.targets
        )
        with pytest.raises(AccountingError, match=r"not in the target|still have") if is_lost else nullcontext():
            play.run.go(STEPS[REPORT], rows)
        for name in play.targets:
            self.targets[name].settle(play.id, {key for key, _ in play.written(name)})
        if not is_lost:
            assert play.run.is_failed == play.is_failure(), f"the run is a failure: {play.run.is_failed}"

    def _build(self, play: Play, rows: Mapping[int, str]) -> None:
        # What is sent stays, with the rows beside it that are not sent.
        is_kept = play.is_sent and play.requested
        play.requested, play.unsent = (play.requested, play.unsent) if is_kept else ({}, set())
        play.copied, play.left_alone = {}, 0
        options = play.options
        targets = {name: self.targets[name] for name in play.targets}
        asks = play.job.asks(rows)
        sent_before = {key.number for key in (*play.requested, *play.unsent)}
        over = set[int]()
        left = None if options.limit is None else max(0, options.limit - len(sent_before))
        new = [key for key in asks if key not in play.requested and key not in play.unsent]
        looked_up = {key: self._look_up(play, targets, key, asks[key]) for key in new}
        if left is not None:
            to_ask = {key.number: None for key in new if looked_up[key] == "ask" and key.number not in sent_before}
            numbers = [number for number in rows if number in to_ask]
            over = set(numbers[left:])
        for key in new:
            found = looked_up[key]
            if key.number in over:
                continue
            if found == "ask":
                if asks[key]:
                    play.requested[key] = asks[key]
                else:
                    play.unsent.add(key)
            elif found.into:
                play.copied[key] = found
            else:
                play.left_alone += 1
        if options.orphaned_rows == "remove" and options.limit is None and rows:
            order = (play.run.data_until, self.world.clock.now)
            tables = [one for one in targets.values() if isinstance(one, Table)]
            removed = [self._remove(table, play.job, rows, order) for table in tables]
            play.removed.append((order, max(removed, default=0)))

    def _look_up(self, play: Play, targets: Mapping[str, Target], key: Key, request: Request) -> Any:
        """Where a row's outcome is, or "ask" if it has to be asked or is not sent."""
        order = (play.run.data_until, self.world.clock.now)
        is_all = play.options.refresh == "all"
        asker = Asker(play.id, order, is_all=is_all, retry_final=play.options.retry_final)
        found = look_up(targets, key, request, asker)
        return "ask" if found is None or (found.into and not request) else found

    @staticmethod
    def _remove(table: Table, job: Job, rows: Mapping[int, str], order: Order) -> int:
        left = [key for key, row in table.rows.items() if row.job == job.name and key.number not in rows]
        left = [key for key in left if job.owns(key) and table.rows[key].order <= order]
        for key in left:
            del table.rows[key]
        return len(left)

    def _lacks(self, play: Play, name: str) -> int:
        rows = self.targets[name].rows
        return sum(key not in rows for key, _ in play.written(name))

    def _is_left_to_others(self, play: Play, name: str) -> bool:
        """Whether a target that was added since has rows that a join of this run would take over."""
        before = self.targets[name].rows
        joined = Table(dict(before))
        for key, row in play.written(name):
            joined.write(key, row)
        return any(joined.rows[key].run != row.run for key, row in before.items())

    def _removed_since(self, play: Play) -> int:
        """How many rows later runs of the job have removed."""
        others = [one for one in play.job.runs if one is not play and not one.is_removed]
        return sum(count for one in others for order, count in one.removed if order >= play.run.order)

    def _audit(self, play: Play) -> None:
        """By the server's own files all that was sent is what had to be, each once an attempt."""
        self._disarm()
        times: Counter[Request] = Counter()
        answered = {request for request, reply in play.replies.items() if reply.text is not None}
        sent = self.world.server.sent(play.run.run_id, play.run.live_lines, answered=answered)
        for request, reply in sent:
            times[request] += 1
            before = play.replies.get(request)
            is_open = before is None or before.read_as(play.answer).kind == PASSING
            assert is_open, f"{request} is asked again: it was {before}"
            play.replies[request] = reply
        if play.is_sent:
            assert set(play.replies) >= set(play.requested.values()), "a request was not sent"
        assert set(times) <= set(play.requested.values()), "a request was sent that nobody needs"
        assert max(times.values(), default=0) <= 2, "a request was sent more often than there are attempts"

    @contextmanager
    def _faults(self, names: list[str]) -> Iterator[None]:
        if names:
            self.world.emulator.faults([fault for name in names for fault in FAULTS[name]])
            self.is_armed = True
        yield
        self._disarm()

    def _disarm(self) -> None:
        """Faults that have not struck are over."""
        if self.is_armed:
            self.world.emulator.disarm()
            self.is_armed = False

    def _count(self, what: str) -> None:
        Year.counts[what] += 1
