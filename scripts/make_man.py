#!/usr/bin/env python3
"""Write the man pages from packaging/man/*.in, the command line's grammar and the schema.

The `@PLACES@` of a template are filled in here. A test holds the pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List

from grammar import Command, Word, read_commands
from make_manifest_docs import Field, find_fields, read_schema
from man_template import EXAMPLE, FOLDER, HEADING, LIST, PLACE, Block, read_blocks

from reconciler import __version__
from reconciler.cli.arguments import EPILOG, PROGRAM

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "packaging" / "config.yaml"
PAGES = ("virt-reconciler.1", "virt-reconciler-config.5")

_ASCII = {"…": "...", "→": "->"}
# What troff would take for something else than the character that is meant.
_SPECIAL = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def main() -> None:
    """Write the pages."""
    for name in PAGES:
        (FOLDER / name).write_text(render(name), encoding="ascii")


def render(name: str) -> str:
    """Return a page."""
    title, _, section = name.rpartition(".")
    lines = [
        '.\\" Written by scripts/make_man.py; do not edit.',
        f'.TH "{escape(title.upper())}" "{section}" "" "{PROGRAM} {__version__}" "{PROGRAM}"',
        ".nh",
        ".ad l",
    ]
    for block in read_blocks(name):
        lines.extend(_render_block(block))
    return "\n".join(lines) + "\n"


def _render_block(block: Block) -> Iterator[str]:
    if block.kind == HEADING:
        yield f".SH {block.text}"
    elif block.kind == PLACE:
        yield from _FILLINGS[block.text]()
    elif block.kind == EXAMPLE:
        yield from _example(block.text.split("\n"))
    elif block.kind == LIST:
        for term, text in block.items:
            yield from _item(f"\\fB{escape(term)}\\fR", text)
    else:
        yield from (".PP", mark(block.text))


def _item(term: str, text: str) -> Iterator[str]:
    yield from (".TP", term, mark(text))


def _example(lines: Iterable[str]) -> Iterator[str]:
    yield from (".PP", ".RS 4", ".nf")
    yield from (guard(escape(line)) for line in lines)
    yield from (".fi", ".RE")


def escape(text: str) -> str:
    """Return text as troff takes it, in ASCII."""
    plain = "".join(_ASCII.get(one, one) for one in text)
    return "".join(_SPECIAL.get(one, one) for one in plain)


def guard(line: str) -> str:
    """Keep a line from being taken for a request."""
    return f"\\&{line}" if line.startswith((".", "\\(aq")) else line


def mark(text: str) -> str:
    """Return a paragraph on one line, with what is in backquotes in bold."""
    words = " ".join(text.split())
    parts = re.split(r"`([^`]*)`", words)
    marked = [
        f"\\fB{escape(part)}\\fR" if index % 2 else escape(part) for index, part in enumerate(parts)
    ]
    return guard("".join(marked))


def _synopsis() -> Iterator[str]:
    for command in read_commands():
        if not command.verbs:
            yield from (_usage(command), ".br")


def _usage(command: Command) -> str:
    words = [f"\\fB{escape(f'{PROGRAM} {command.name}')}\\fR", r"[\fIOPTION\fR...]"]
    words.extend(_argument(argument) for argument in command.arguments)
    return " ".join(words)


def _argument(word: Word) -> str:
    value = f"\\fI{escape(word.value.rstrip('.'))}\\fR{'...' if word.is_many else ''}"
    return value if word.is_required else f"[{value}]"


def _verbs() -> Iterator[str]:
    common = set(_common())
    for command in read_commands():
        if not command.path or command.verbs:
            continue
        yield from (f".SS {escape(command.name)}", _usage(command), ".PP")
        yield mark(command.description)
        for word in (*command.arguments, *command.options):
            if word not in common:
                yield from _word(word)


def _word(word: Word) -> Iterator[str]:
    if not word.flags:
        yield from _item(f"\\fI{escape(word.value)}\\fR", _sentence(word.help))
        return
    flags = ", ".join(f"\\fB{escape(flag)}\\fR" for flag in word.flags)
    value = f" \\fI{escape(word.value)}\\fR" if word.value else ""
    needed = " (must be given)" if word.is_required else ""
    yield from _item(flags + value, _sentence(f"{word.help}{needed}"))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _common() -> List[Word]:
    """Return the options of the program itself; verbs take them too."""
    return list(read_commands()[0].options)


def _options() -> Iterator[str]:
    for word in _common():
        yield from _word(word)


def _exit() -> Iterator[str]:
    words = " ".join(EPILOG.split())
    yield from (".PP", mark(_sentence(words.partition(": ")[2])))


def _fields() -> Iterator[str]:
    for field in find_fields(read_schema("Configuration")):
        yield from _item(f"\\fB{escape(field.path)}\\fR", _describe(field))


def _describe(field: Field) -> str:
    return f"{field.node['description']} ({', '.join(field.facts)})"


def _file() -> Iterator[str]:
    yield from _example(CONFIG.read_text(encoding="utf-8").rstrip("\n").split("\n"))


_FILLINGS: Dict[str, Callable[[], Iterator[str]]] = {
    "SYNOPSIS": _synopsis,
    "VERBS": _verbs,
    "OPTIONS": _options,
    "EXIT": _exit,
    "FIELDS": _fields,
    "FILE": _file,
}


if __name__ == "__main__":
    main()
