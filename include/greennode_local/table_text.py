"""Rows as text that fits the terminal: a table, or a block of lines for each row if there are many columns."""

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

_GAP = "  "
_NARROWEST = 4
# A column that is cut below this is no longer readable.
_READABLE = 12


def format_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, width: int) -> str:
    """A heading, a rule and one line a row; the widest columns are cut until the table fits `width`."""
    values = [list(row) for row in rows]
    cells = [[cell_text(value) for value in row] for row in values]
    widths = [
        max(text_width(text) for text in (name, *(row[index] for row in cells))) for index, name in enumerate(columns)
    ]
    is_number = [_is_numbers(row[index] for row in values) for index in range(len(columns))]
    _shrink(widths, width - len(_GAP) * (len(columns) - 1))
    rule = ["-" * wide for wide in widths]
    return "\n".join(_line(texts, widths, is_number) for texts in (columns, rule, *cells))


def fits(columns: Sequence[str], *, width: int) -> bool:
    """Whether a table with such columns keeps each of them readable."""
    return len(columns) * (_READABLE + len(_GAP)) - len(_GAP) <= width


def format_records(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, width: int) -> str:
    """A block for each row, with a line for each column that has a value; long values continue on further lines."""
    names = max(map(text_width, columns), default=0)
    lines: list[str] = []
    for number, row in enumerate(rows, start=1):
        lines += ["", f"-- row {number} ".ljust(width, "-")] if lines else [f"-- row {number} ".ljust(width, "-")]
        for name, value in zip(columns, row, strict=True):
            first, *others = _wrapped(cell_text(value), max(_READABLE, width - names - len(_GAP)))
            if first:
                lines.append(f"{name}{' ' * (names - text_width(name))}{_GAP}{first}")
                lines += [f"{' ' * names}{_GAP}{other}" for other in others]
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    """The text in lines of so many terminal columns, broken between words if possible."""
    lines = [""]
    for word in text.split(" "):
        left = word
        if lines[-1] and text_width(lines[-1]) + 1 + text_width(left) <= width:
            lines[-1] += f" {left}"
            continue
        if lines[-1]:
            lines.append("")
        while text_width(left) > width:
            lines[-1] = cut(left, width + 1).removesuffix("…")
            left = left[len(lines[-1]) :]
            lines.append("")
        lines[-1] = left
    return lines


def cell_text(value: Any) -> str:
    """One value on one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return " ".join(str(value).split())


def text_width(text: str) -> int:
    """How many terminal columns the text takes: combining marks none, East Asian wide characters two."""
    return sum(_char_width(char) for char in text)


def cut(text: str, width: int) -> str:
    """The text, cut to so many terminal columns with `…` at the end."""
    if text_width(text) <= width:
        return text
    kept, used = "", 0
    for char in text:
        used += _char_width(char)
        if used > width - 1:
            break
        kept += char
    return f"{kept}…"


def _char_width(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf", "Cc"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def _shrink(widths: list[int], room: int) -> None:
    """Cut the widest column, again and again, until all fit or all are narrow."""
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _is_numbers(values: Iterable[Any]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(isinstance(value, int | float) for value in present)


def _line(texts: Sequence[str], widths: Sequence[int], is_number: Sequence[bool]) -> str:
    parts = []
    for text, wide, to_the_right in zip(texts, widths, is_number, strict=True):
        shown = cut(text, wide)
        space = " " * (wide - text_width(shown))
        parts.append(space + shown if to_the_right else shown + space)
    return _GAP.join(parts).rstrip()
