#!/usr/bin/env python3
"""Write docs/troubleshooting.md: scripts/troubleshooting.md.in with the product's own messages.

In the template a line `~ words` of an entry draws in every message that contains these words (`…`
in them stands for anything). If several entries fit, the one with the longest words gets the
message. A line `! words` names what is no message. A test fails if a message has no entry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Pattern, Tuple

from grammar import read_commands
from messages import VALUE, read_catalog

from reconciler.cli.arguments import EPILOG

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "scripts" / "troubleshooting.md.in"
PAGE = ROOT / "docs" / "troubleshooting.md"
DRAWN, LEFT_OUT = "~ ", "! "


@dataclass(frozen=True)
class Entry:
    """Words of messages, and the line of the template where they are."""

    line: int
    words: str
    is_left_out: bool
    form: Pattern[str]

    def fits(self, message: str) -> bool:
        """Whether a message contains the words, in upper or lower case."""
        return self.form.search(message) is not None


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    drawn, _ = _sort_messages()
    lines = TEMPLATE.read_text(encoding="utf-8").splitlines()
    return "".join(_render_lines(lines, drawn)).rstrip("\n") + "\n"


def find_strays() -> List[str]:
    """Return the messages that no entry draws in."""
    return _sort_messages()[1]


def _render_lines(lines: List[str], drawn: Dict[int, List[str]]) -> Iterator[str]:
    """Yield the page's lines; the messages of an entry are one list."""
    block: List[str] = []
    for number, line in enumerate(lines):
        if line.startswith(DRAWN):
            block += drawn.get(number, [])
        elif block and not line:
            yield "".join(f"- {_quote(message)}\n" for message in block) + "\n"
            block = []
        elif not line.startswith(LEFT_OUT):
            yield f"{line}\n"


def _quote(message: str) -> str:
    fence = "``" if "`" in message else "`"
    space = " " if message.startswith("`") or message.endswith("`") else ""
    return f"{fence}{space}{message}{space}{fence}"


def _sort_messages() -> Tuple[Dict[int, List[str]], List[str]]:
    """Return the messages by line of the template, and those that have none."""
    patterns = list(_read_patterns())
    drawn: Dict[int, List[str]] = {}
    strays: List[str] = []
    manual = _read_manual()
    for message in read_catalog():
        if message.lower() in manual:
            continue
        fitting = [pattern for pattern in patterns if pattern.fits(message)]
        if not fitting:
            strays.append(message)
            continue
        best = max(fitting, key=lambda pattern: len(pattern.words))
        if not best.is_left_out:
            drawn.setdefault(best.line, []).append(message)
    return drawn, strays


def _read_patterns() -> Iterator[Entry]:
    for number, line in enumerate(TEMPLATE.read_text(encoding="utf-8").splitlines()):
        if line.startswith((DRAWN, LEFT_OUT)):
            words = line[len(DRAWN) :]
            form = re.compile(".*".join(map(re.escape, words.split(VALUE))), re.IGNORECASE)
            yield Entry(number, words, line.startswith(LEFT_OUT), form)


def _read_manual() -> str:
    """Return the texts of `--help`, which docs/commands.md has, in lower case."""
    texts = [EPILOG]
    for command in read_commands():
        words = (*command.options, *command.arguments)
        texts += [command.help, command.description, *(word.help for word in words)]
    return " ".join(" ".join(texts).split()).lower()


if __name__ == "__main__":
    main()
