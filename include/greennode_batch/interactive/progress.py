"""Progress: how far a run is, with its rate and the time left. A bar in a terminal or a notebook, else lines."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

PLAIN_SECONDS = 10.0
"""The shortest time between two progress lines where there is no terminal."""
# Batches are polled once a minute at most: a rate needs several polls.
_RATE_SECONDS = 600.0


@contextmanager
def engine_log(level: int) -> Iterator[None]:
    """Inside, the engine's log has this level."""
    log = logging.getLogger("greennode_batch")
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)


class ProgressDisplay:
    """What a command, or a call, shows on stderr while it works; its log goes there as well, above the bar.

    A notebook shows a bar if it has ipywidgets, which rich needs for one.

    Call it with a step, the amount done, and the total if it is known. A new step's name ends the step before it.
    """

    def __init__(self, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
        self._clock = clock
        in_notebook = self._console.is_jupyter and find_spec("ipywidgets") is not None
        self._is_live = in_notebook or (self._console.is_terminal and not self._console.is_dumb_terminal)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            _Figures(),
            console=self._console,
            get_time=clock,
            speed_estimate_period=_RATE_SECONDS,
            transient=True,
            expand=True,
            # Prints are the command's output, and may be redirected.
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._is_live,
        )
        self._task: TaskID | None = None
        self._said: tuple[float, int] | None = None
        self._handler = _LogHandler(self._console)

    def __enter__(self) -> Self:
        """Begin to show."""
        logging.getLogger().addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the terminal."""
        self.pause()
        logging.getLogger().removeHandler(self._handler)

    def __call__(self, step: str, done: int, total: int | None = None) -> None:
        """Show how much of a step is done."""
        if self._task is None or self._shown.description != step:
            self._end_step()
            self._bar.start()
            self._task = self._bar.add_task(step, total=total)
            self._said = None
        self._bar.update(self._task, total=total, completed=done)
        if not self._is_live:
            self._say()

    def pause(self) -> None:
        """Remove the bar, so that something can be printed."""
        self._end_step()
        self._bar.stop()

    @property
    def _shown(self) -> Task:
        assert self._task is not None
        return self._bar.tasks[-1]

    def _end_step(self) -> None:
        if self._task is not None:
            if not self._is_live and self._said is not None and self._said[1] != self._shown.completed:
                self._say(is_last=True)
            self._bar.remove_task(self._task)
        self._task = None

    def _say(self, *, is_last: bool = False) -> None:
        now, task = self._clock(), self._shown
        is_due = self._said is None or now - self._said[0] >= PLAIN_SECONDS or task.finished
        if is_last or (is_due and (self._said is None or self._said[1] != task.completed)):
            logging.getLogger(__name__).info("%s: %s", task.description, figures(task))
            self._said = now, int(task.completed)


def figures(task: Task) -> str:
    """How far a step is: "99 of 200, 12.5 a second, about 8 s left"."""
    done = f"{task.completed:,.0f}" if task.total is None else f"{task.completed:,.0f} of {task.total:,.0f}"
    rate = f", {task.speed:,.3g} a second" if task.speed else ""
    left = task.time_remaining if task.total is not None and not task.finished else None
    return f"{done}{rate}{f', about {_duration(left)} left' if left else ''}"


class _Figures(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        return Text(figures(task))


class _LogHandler(logging.Handler):
    """The log, above the bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(Text(self.format(record)))


def _duration(seconds: float) -> str:
    for unit, name in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:.0f} s"
