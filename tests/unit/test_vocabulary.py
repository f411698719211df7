"""One word for one thing: docs/reference/glossary.md. Words that were replaced do not come back."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
CODE = ["include/greennode_batch", "include/greennode_emulator", "include/greennode_faults", "include/greennode_local"]
CODE += ["plugins/greennode_airflow", "dags", "benchmarks"]
# Without the peers' environments, which the benchmark makes.
MODULES = sorted(
    module for folder in CODE for module in (PROJECT / folder).rglob("*.py") if ".envs" not in module.parts
)
PAGES = sorted(
    [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md"), PROJECT / "include/greennode_emulator/README.md"]
)

# Old names, as words of an identifier in snake_case or CamelCase -> the glossary's.
REPLACED_NAMES = {
    "answered_note": "answer_cache",
    "call_budget": "rate_limiter",
    "cut_body": "body_template",
    "earlier_rows": "target_lookup",
    "hash_filter": "bloom_filter",
    "held_rows": "batch_buffer",
    "kept_index": "submitted_index",
    "kept_shard": "submitted_shard",
    "kept_shards": "submitted_shards",
    "known_rows": "target_lookup",
    "left_rows": "orphaned_rows",
    "line_ends": "completion",
    "line_folder": "queue_folder",
    "line_limits": "limits",
    "look_at": "poll",
    "look_plan": "poll_plan",
    "outlook": "budget_forecast",
    "overview": "monitor",
    "thoughts": "reasoning",
    "turned_away": "over_capacity",
    "watch_list": "poll_schedule",
}
# Phrases that make a sentence be read twice -> plain words.
REPLACED_PHRASES = {
    r"(is|are|was|were|be|been) told": "gets, receives, knows",
    r"tells of": "describes, names",
    r"anew": "again",
    r"mend(s|ed)?": "fix",
    r"(for )?want of": "no, without, for lack of",
    r"who(m)?ever": "anybody who, the one who",
    r"of (its|their|our|his) own": "own, separate",
    r"as far as": "what … so far",
    r"in earnest": "in real use",
    r"save for": "except",
    r"be it": "even if",
    r"nobody's": "of no job, of no one",
    r"turned away": "refused for lack of capacity",
    r"budget outlook": "budget forecast",
}
_PHRASES = re.compile(rf"(?<![\w`])(?:{'|'.join(f'(?:{phrase})' for phrase in REPLACED_PHRASES)})(?!\w)", re.IGNORECASE)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")


def _tokens(module: Path) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(module.read_text()).readline)


def _prose(module: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, comments and messages: texts of more than one word, with the line where each begins."""
    for token in _tokens(module):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def test_no_two_modules_share_a_name() -> None:
    names = Counter(
        module.stem for module in MODULES if not module.stem.startswith("__") and module.parts[-2] != "dags"
    )
    assert not {name: count for name, count in names.items() if count > 1}


def test_replaced_names_do_not_come_back() -> None:
    old = re.compile(rf"(?:^|_)(?:{'|'.join(REPLACED_NAMES)})(?:$|_)")
    found = [
        f"{module.relative_to(PROJECT)}:{token.start[0]}: {token.string}"
        for module in MODULES
        for token in _tokens(module)
        if token.type == tokenize.NAME and old.search(_snake(token.string))
    ]
    assert not found, "docs/reference/glossary.md has the words to use"


@pytest.mark.parametrize("folder", [*CODE[:5], "dags"])
def test_replaced_phrases_do_not_come_back_into_code(folder: str) -> None:
    found = [
        f"{module.relative_to(PROJECT)}:{line}: {match[0]}"
        for module in sorted((PROJECT / folder).rglob("*.py"))
        for line, text in _prose(module)
        for match in _PHRASES.finditer(text)
    ]
    assert not found, "\n".join(found)


def test_replaced_phrases_do_not_come_back_into_the_docs() -> None:
    found = [
        f"{page.relative_to(PROJECT)}:{number}: {match[0]}"
        for page in PAGES
        for number, line in enumerate(page.read_text().split("\n"), 1)
        for match in _PHRASES.finditer(line)
    ]
    assert not found, "\n".join(found)
