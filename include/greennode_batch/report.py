"""The report: every row and every token of a run accounted for, or an error that names what is not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from greennode_batch.build.known_rows import LeftRows
from greennode_batch.build.plan import Plan, read_plan
from greennode_batch.collect.verdicts import RowStatus
from greennode_batch.errors import AccountingError, ConfigError, FailedRowsError
from greennode_batch.join.joined_shard import JoinedShard, read_joined
from greennode_batch.reconcile.answered import AnsweredTable
from greennode_batch.reconcile.attempts import AttemptReport
from greennode_batch.reconcile.differences import Differences, find_differences, key_schema
from greennode_batch.reconcile.fingerprint import NO_ROWS, Fingerprint, fingerprint
from greennode_batch.reconcile.named import Named
from greennode_batch.reconcile.staged import account_for
from greennode_batch.reconcile.written import WrittenRows
from greennode_batch.staging import RunFolder, write_json

log = logging.getLogger(__name__)


class RunReport(msgspec.Struct, frozen=True):
    """report.json: a run's rows by status, what was asked and paid for it, and whether it all adds up.

    anomalies: lines of result files that settle no request, by kind; anomaly_files: where they are kept. superseded:
    rows that a later run has written over. turned_away: batches that the server refused for want of room, and that
    cost nothing. lost: batches that were given up, by what became of them. unchanged: rows beside these whose answer
    the target has since an earlier run. left: rows of the target that are not in the source. prompt_hash: of what was
    said to the model before there was a row in it, with all files. problems: what does not add up, in words.
    """

    job: str
    run_id: str
    rows: int
    requests: int
    shards: int
    statuses: dict[str, int]
    prompt_tokens: int
    completion_tokens: int
    attempts: tuple[AttemptReport, ...] = ()
    anomalies: dict[str, int] = {}
    anomaly_files: tuple[str, ...] = ()
    superseded: int = 0
    turned_away: int = 0
    lost: dict[str, int] = {}
    unchanged: int = 0
    left: LeftRows | None = None
    prompt_hash: str = ""
    balanced: bool = True
    problems: tuple[str, ...] = ()

    @property
    def succeeded(self) -> int:
        """Rows with an answer."""
        return self.statuses.get(RowStatus.SUCCEEDED, 0)

    @property
    def summary(self) -> str:
        """The rows and what they cost, in one line."""
        return (
            f"{self.rows:,} rows ({_listed(self.statuses)}) from {self.requests:,} requests in {self.shards:,} shards; "
            f"{self.prompt_tokens:,} prompt and {self.completion_tokens:,} completion tokens"
        )

    def __str__(self) -> str:
        prompt = [f"prompt {self.prompt_hash}"] if self.prompt_hash else []
        return "\n".join(
            [self.summary, *prompt, *self._remarks(), *(f"Does not add up: {words}" for words in self.problems)]
        )

    def _remarks(self) -> list[str]:
        said = [f"{_counted(self.unchanged, 'row', 'rows')} unchanged since an earlier run"] if self.unchanged else []
        said += [str(self.left)] if self.left and self.left.count else []
        said += [
            f"{_counted(one.requests, 'request was', 'requests were')} asked again in attempt {one.attempt}: "
            f"{_listed(one.statuses)}"
            for one in self.attempts[1:]
        ]
        if self.anomalies:
            more = len(self.anomaly_files) - 1
            said.append(
                f"{_counted(sum(self.anomalies.values()), 'line', 'lines')} of the result files settled no request "
                f"({_listed(self.anomalies)}); see {self.anomaly_files[0]}"
                f"{f' and {more:,} more of that name' if more else ''}"
            )
        if self.turned_away:
            said.append(
                f"{_counted(self.turned_away, 'batch was', 'batches were')} refused for want of room and sent again, "
                "at no cost"
            )
        if self.lost:
            batches = _counted(sum(self.lost.values()), "batch was", "batches were")
            said.append(f"{batches} given up ({_listed(self.lost)}), and may have been billed all the same")
        if self.superseded:
            said.append(f"{_counted(self.superseded, 'row was', 'rows were')} written over by a later run")
        return said


def report(run: RunFolder, *targets: WrittenRows, known: AnsweredTable | None = None) -> RunReport:
    """Reconcile source, shards, results and targets by id, and write report.json, whether they agree or not.

    known: the table among the targets of which it is noted, if they agree, what it has answered. Holds the ids of one
    shard's requests; if a target differs, 8 bytes a row as well. Follow it with `check_balanced`. Raises ConfigError if
    the run was never built.
    """
    plan = read_plan(run)
    if plan is None:
        raise ConfigError(f"{run}: there is no plan.json, so nothing was built and nothing sent; see build_requests")
    key = plan.target_key
    staged = account_for(run, plan, key)
    notes = {shard.shard_id: read_joined(run.shard(shard.shard_id)) for shard in plan.shards}
    joined = {shard_id: note for shard_id, note in notes.items() if note is not None}
    problems = [*staged.problems, *_join_problems(notes, staged.fingerprints)]
    is_sound = not problems
    superseded = 0
    for target in targets if len(joined) == len(notes) else ():
        compared = _compare_target(run, plan, key, target, joined, is_sound=is_sound)
        where = f"{target.name}: " if len(targets) > 1 else ""
        problems += [f"{where}{words}" for words in compared.problems]
        superseded = max(superseded, compared.superseded)
    statuses: Counter[str] = Counter()
    for note in joined.values():
        statuses.update(note.statuses)
    made = RunReport(
        job=plan.job,
        run_id=plan.run_id,
        rows=plan.rows,
        requests=plan.requests,
        shards=plan.submitted_shards,
        statuses=dict(statuses.most_common()),
        prompt_tokens=sum(attempt.prompt_tokens for attempt in staged.attempts),
        completion_tokens=sum(attempt.completion_tokens for attempt in staged.attempts),
        attempts=staged.attempts,
        anomalies=staged.anomalies,
        anomaly_files=staged.anomaly_files,
        superseded=superseded,
        turned_away=staged.turned_away,
        lost=staged.lost,
        unchanged=plan.unchanged,
        left=plan.left,
        prompt_hash=plan.prompt_hash,
        balanced=not problems,
        problems=tuple(problems),
    )
    write_json(run.report, made)
    # Where a later run has written over some rows, it is that run's to note.
    if known is not None and made.balanced and not made.superseded:
        known.note(plan)
    return made


def check_balanced(made: RunReport) -> None:
    """Raise AccountingError, with the ids, if source, shards, results and target do not agree."""
    if not made.balanced:
        raise AccountingError(f"run {made.run_id} does not add up: {'; and '.join(made.problems)}")


def check_failed_ratio(made: RunReport, max_failed_ratio: float) -> None:
    """Raise FailedRowsError if too large a share of the rows ended without an answer."""
    failed = made.rows - made.succeeded
    if failed > made.rows * max_failed_ratio:
        raise FailedRowsError(
            f"{failed:,} of {made.rows:,} rows ended without an answer ({made.summary}); the job allows a share of "
            f"{max_failed_ratio:.1%} (max_failed_ratio). All rows are in the target; see its columns status and error"
        )


def _join_problems(notes: Mapping[str, JoinedShard | None], fingerprints: Mapping[str, Fingerprint]) -> list[str]:
    absent = Named(shard_id for shard_id, note in notes.items() if note is None)
    stale = Named(
        shard_id
        for shard_id, note in notes.items()
        if note is not None and shard_id in fingerprints and note.rows_fingerprint != fingerprints[shard_id]
    )
    problems = []
    if absent.count:
        problems.append(
            f"{absent.count:,} of {len(notes):,} shards are not joined yet, so the target was not looked at: "
            f"{absent}. See their tasks; clearing those goes on from where they stopped and pays nothing twice"
        )
    if stale.count:
        problems.append(
            f"the results of {stale.count:,} of {len(notes):,} shards are others than those that were joined: {stale}. "
            "Clear their join_results, at no cost"
        )
    return problems


def _compare_target(
    run: RunFolder,
    plan: Plan,
    key: Sequence[str],
    target: WrittenRows,
    joined: Mapping[str, JoinedShard],
    *,
    is_sound: bool,
) -> Differences:
    """Whether the target holds what was joined; how many rows and which, only if it does not."""
    expected = NO_ROWS
    for note in joined.values():
        expected = expected.joined_with(note.rows_fingerprint)
    held = fingerprint(target.batches(key_schema(run, plan, key)), key)
    if held == expected:
        return Differences([], 0)
    log.info(
        "The %s has %s rows of this run as they were written, or others; %s were joined. Looking which differ",
        target.name,
        f"{held.rows:,}",
        f"{expected.rows:,}",
    )
    if not is_sound:
        words = (
            f"the target's {held.rows:,} rows are not the {expected.rows:,} that were joined. Which differ is told "
            "once the above is mended"
        )
        return Differences([words], 0)
    return find_differences(run, plan, key, target)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items()) or "none"


def _counted(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
