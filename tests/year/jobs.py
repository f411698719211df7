"""Jobs of the year: what a user declares and edits, and the options of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel
from tests.year.model import Key, Request

from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.live_mode import Live
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget, SqlTarget

if TYPE_CHECKING:
    from tests.year.play import Play

MODELS = ("google/gemma-4-31b-it", "qwen/qwen3.6-flash")
TABLES = ("answers", "copies")
DATASET = "files"
TARGETS = (*TABLES, DATASET)
MAX_FAILED = 0.3
NO_ANSWER_MODEL = "text"
_SHARD_REQUESTS = 8


class Short(BaseModel):
    """An answer of one field."""

    verdict: str


class Long(BaseModel):
    """The same with a field more."""

    verdict: str
    score: int


class Strict(BaseModel):
    """The first one with other values."""

    verdict: Literal["yes", "no"]


ANSWERS: dict[str, type[BaseModel] | None] = {
    NO_ANSWER_MODEL: None,
    **{one.__name__: one for one in (Short, Long, Strict)},
}
COLUMNS = ("answer", "verdict", "score")
"""All columns that answers have."""

EDITS: Sequence[dict[str, Any]] = [
    {"prompt": "Say"},
    {"prompt": "Tell"},
    {"max_tokens": 500},
    {"max_tokens": 600},
    *({"models": some} for some in (MODELS[:1], MODELS[1:], MODELS)),
    *({"answer": name} for name in ANSWERS),
    *({"samples": number} for number in (2, 3)),
    *({"live_under": number} for number in (0, 4)),
]


@dataclass(repr=False)
class Job:
    """A job as it stands, its source, and its runs.

    is_listed: it asks all of its models; else the first alone. is_sampled: it asks several samples; else one.
    """

    name: str
    rows: dict[int, str] = field(default_factory=dict)
    prompt: str = "Say"
    max_tokens: int = 500
    is_listed: bool = False
    models: tuple[str, ...] = MODELS[:1]
    is_sampled: bool = False
    samples: int = 2
    answer: str = NO_ANSWER_MODEL
    live_under: int = 0
    targets: tuple[str, ...] = TABLES[:1]
    runs: list[Play] = field(default_factory=list)

    def declared(self, folder: str, *, answer: str, **options: Any) -> BatchJob:
        """As a user writes it. folder: of the dataset. answer: the name of the answer model."""
        tables = {name: SqlTarget(conn_id="db", table=name, add_columns=True) for name in TABLES}
        targets = {**tables, DATASET: FileTarget(path=folder)}
        return BatchJob(
            name=self.name,
            source=FileSource(path="rows"),
            key="id",
            model=list(self.models) if self.is_listed else self.models[0],
            prompt=f"{{{{ text and '{self.prompt} ' ~ text }}}}",
            params={"max_tokens": self.max_tokens},
            answer=ANSWERS[answer],
            samples=self.samples if self.is_sampled else 1,
            live=Live(under=self.live_under),
            target=tuple(targets[name] for name in self.targets),
            canary=0,
            max_failed_ratio=MAX_FAILED,
            # A fault strikes whole runs, and none of them is to be stopped for it.
            systematic_failure_ratio=None,
            min_read_ratio=0,
            max_shard_requests=_SHARD_REQUESTS,
            **options,
        )

    def asks(self, rows: Mapping[int, str]) -> dict[Key, Request]:
        """What each of these rows asks of each model, for each sample; nothing, where its text is empty."""
        params = str(self.max_tokens)
        return {
            Key(number, model if self.is_listed else "", sample): (
                (model, params, self.answer, f"{self.prompt} {text}", str(sample)) if text else ()
            )
            for number, text in rows.items()
            for model in self.models[: None if self.is_listed else 1]
            for sample in range(1, 1 + (self.samples if self.is_sampled else 1))
        }

    def owns(self, key: Key) -> bool:
        """Whether a run of the job as it stands may write a row of this model and sample."""
        return (not self.is_listed or key.model in self.models) and (not self.is_sampled or key.sample <= self.samples)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        printer.text(f"jobs[{self.name!r}]")


class Options(NamedTuple):
    """What a run may say of itself. limit: only the first rows that are to be asked."""

    refresh: Literal["changed", "all"] = "changed"
    orphaned_rows: Literal["report", "remove", "ignore"] = "report"
    retry_final: bool = False
    limit: int | None = None

    def of_job(self) -> dict[str, Any]:
        """As options of a job."""
        return {"refresh": self.refresh, "orphaned_rows": self.orphaned_rows, "retry_final": self.retry_final}
