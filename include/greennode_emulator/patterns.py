"""Strings that match a simple regular expression, for `pattern` in a schema.

Understands literals, classes, groups, alternatives, quantifiers and the anchors at both ends. Look-around,
back-references and Unicode classes are refused: a schema that uses them cannot be answered.
"""

import string
from dataclasses import dataclass, field

from greennode_emulator.dice import Dice

_DIGITS = string.digits
_WORD = string.ascii_letters + string.digits + "_"
_PRINTABLE = "".join(chr(code) for code in range(32, 127))
_CLASSES = {
    "d": _DIGITS,
    "w": _WORD,
    "s": " ",
    "D": "".join(sorted(set(_PRINTABLE) - set(_DIGITS))),
    "W": "".join(sorted(set(_PRINTABLE) - set(_WORD))),
    "S": _PRINTABLE[1:],
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
# How many repetitions beyond the minimum an open quantifier (*, +, {2,}) may give.
_OPEN_EXTRA = 4


class PatternError(Exception):
    """The expression is invalid, or uses a feature that this module does not support."""


@dataclass
class _Reader:
    """Reads the expression once and writes the string on the way."""

    text: str
    dice: Dice
    at: int = field(default=0)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        if not char:
            raise PatternError(f"{self.text!r} ends too early")
        self.at += 1
        return char

    def alternatives(self) -> str:
        options = [self.sequence()]
        while self.peek() == "|":
            self.take()
            options.append(self.sequence())
        return self.dice.pick(options)

    def sequence(self) -> str:
        parts = []
        while self.peek() not in ("", "|", ")"):
            start = self.at
            part = self.atom()
            times, end = self.quantifier()
            parts.append(part if times else "")
            for _ in range(times - 1):
                # Each repetition makes new choices.
                self.at = start
                parts.append(self.atom())
            self.at = end
        return "".join(parts)

    def atom(self) -> str:
        char = self.take()
        match char:
            case "^" | "$":
                return ""
            case ".":
                return self.dice.pick(_WORD)
            case "(":
                return self.group()
            case "[":
                return self.dice.pick(self.character_class())
            case "\\":
                return self.dice.pick(self.escape())
            case "*" | "+" | "?" | "{":
                raise PatternError(f"nothing to repeat in {self.text!r}")
            case _:
                return char

    def group(self) -> str:
        if self.peek() == "?":
            self.take()
            if self.take() != ":":
                raise PatternError(f"only plain and (?:) groups are known, not those of {self.text!r}")
        inner = self.alternatives()
        if self.take() != ")":
            raise PatternError(f"a group stays open in {self.text!r}")
        return inner

    def escape(self) -> str:
        """The characters that an escape stands for."""
        char = self.take()
        if char in _CLASSES:
            return _CLASSES[char]
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char.isalnum():
            raise PatternError(f"unknown escape \\{char} in {self.text!r}")
        return char

    def character_class(self) -> str:
        negated = self.peek() == "^"
        if negated:
            self.take()
        chars = ""
        while (char := self.take()) != "]" or not chars:
            options = self.escape() if char == "\\" else char
            ranged = self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", "")
            if ranged and len(options) == 1:
                self.take()
                last = self.take()
                last = self.escape() if last == "\\" else last
                options = "".join(chr(code) for code in range(ord(options), ord(last[0]) + 1))
            chars += options
        if negated:
            chars = "".join(sorted(set(_PRINTABLE) - set(chars)))
        if not chars:
            raise PatternError(f"an empty class in {self.text!r}")
        return chars

    def quantifier(self) -> tuple[int, int]:
        """How often to repeat the part before, and where the expression continues."""
        low, high = 1, 1
        char = self.peek()
        if char and char in "*+?":
            self.take()
            low, high = {"*": (0, _OPEN_EXTRA), "+": (1, 1 + _OPEN_EXTRA), "?": (0, 1)}[char]
        elif char == "{":
            inside, closed, _ = self.text[self.at + 1 :].partition("}")
            first, comma, last = inside.partition(",")
            if not (closed and first.isdecimal() and (last.isdecimal() or not last)):
                raise PatternError(f"bad repetition in {self.text!r}")
            self.at += len(inside) + 2
            low = int(first)
            high = int(last) if last else low + (_OPEN_EXTRA if comma else 0)
        if char and char in "*+?{" and self.peek() == "?":
            self.take()
        if high < low:
            raise PatternError(f"bad repetition in {self.text!r}")
        return self.dice.between(low, high), self.at


def matching_text(pattern: str, dice: Dice) -> str:
    """A string that should match the pattern; callers check it with a real engine."""
    reader = _Reader(pattern, dice)
    text = reader.alternatives()
    if reader.peek():
        raise PatternError(f"a group closes that was never opened in {pattern!r}")
    return text
