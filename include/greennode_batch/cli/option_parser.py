"""Option parser: argparse that names an option it does not have before it asks for those that are missing."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any


class OptionParser(argparse.ArgumentParser):
    """A command's parser. A misspelt option ends it with the nearest one, whatever else is wrong."""

    # The type's overloads say no more than this does.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse as argparse does, unless an option is unknown. A command's options are its own parser's business."""
        given = sys.argv[1:] if args is None else list(args)
        if self._subparsers is None and (words := list(self._unknown(given))):
            self.error(f"{'; '.join(words)}. See {self.prog} --help")
        return super().parse_known_args(given, namespace)

    def _unknown(self, given: Sequence[str]) -> Iterator[str]:
        options = [option for action in self._actions for option in action.option_strings]
        for word in takewhile(lambda one: one != "--", given):
            # argparse takes the beginning of an option for it, and a word with a space for a value.
            name = word.partition("=")[0]
            if not name.startswith("--") or " " in name or any(option.startswith(name) for option in options):
                continue
            near = difflib.get_close_matches(name, options, n=1)
            yield f"there is no option {name}" + (f" (did you mean {near[0]}?)" if near else "")
