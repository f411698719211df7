"""The number of lines of Python code, by package, without tests, comments, docstrings and blank lines.

    python benchmarks/code_lines.py                                         each package of include/ and plugins/
    python benchmarks/code_lines.py include/greennode_batch benchmarks      each folder directly below these
    python benchmarks/code_lines.py --against COMMIT                        and how many more than in that commit

A string on a line of its own is a docstring, wherever it is; every line of any other string counts.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

_PROJECT = Path(__file__).resolve().parents[1]
_PATHS = ("include", "plugins")
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}


def main() -> None:
    """Print one line a package, and their sum."""
    options = _options()
    now = by_package(working_tree(), options.paths)
    then = by_package(at_commit(options.against), options.paths) if options.against else None
    print(*table(now, then), sep="\n")


def code_lines(source: bytes) -> int:
    """The lines that hold code."""
    documented = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines: set[int] = set()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        spanned = range(token.start[0], token.end[0] + 1)
        if token.type not in _NO_CODE and not (token.type == tokenize.STRING and documented.issuperset(spanned)):
            lines.update(spanned)
    return len(lines)


def by_package(files: Iterable[tuple[str, bytes]], paths: Sequence[str]) -> Counter[str]:
    """Code lines of the Python files below these paths, by the folder directly below each."""
    found: Counter[str] = Counter()
    for name, source in files:
        package = _package_of(PurePosixPath(name), paths)
        if package is not None:
            found[package] += code_lines(source)
    return found


def _package_of(file: PurePosixPath, paths: Sequence[str]) -> str | None:
    """None for files that are not Python, are tests, or lie below none of the paths."""
    if file.suffix != ".py" or "tests" in file.parts:
        return None
    for path in map(PurePosixPath, paths):
        if file.is_relative_to(path):
            return str(path.joinpath(*file.relative_to(path).parent.parts[:1]))
    return None


def working_tree() -> Iterator[tuple[str, bytes]]:
    """The current files, including new ones, without those that git ignores."""
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate").decode()
    for name in filter(None, listed.split("\0")):
        file = _PROJECT / name
        if file.is_file():
            yield name, file.read_bytes()


def at_commit(commit: str) -> Iterator[tuple[str, bytes]]:
    """The files as they were in a commit."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", commit))) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=_PROJECT, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)  # git has printed the reason
    return done.stdout


def table(now: Counter[str], then: Counter[str] | None) -> Iterator[str]:
    """Packages in order. then: prints the difference to it; a package may be in only one of the two."""
    names = sorted(now | (then or Counter()))
    width = max(map(len, [*names, "total"]))
    for name in [*names, "total"]:
        here = now.total() if name == "total" else now[name]
        there = None if then is None else then.total() if name == "total" else then[name]
        yield f"  {name:<{width}} {here:>8,}" + ("" if there is None else f" {here - there:>+8,}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", metavar="PATH", default=_PATHS, help="from the project's folder")
    parser.add_argument("--against", metavar="COMMIT")
    options = parser.parse_args()
    if missing := [path for path in options.paths if not (_PROJECT / path).exists()]:
        parser.error(f"there is no {', '.join(missing)}")
    return options


if __name__ == "__main__":
    main()
