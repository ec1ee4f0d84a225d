#!/usr/bin/env python3
"""Write docs/commands.md from the man page's template and the command line's grammar.

It says what virt-reconciler(1) says, with links. A test holds it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator

from grammar import Command, Word, read_commands
from man_template import EXAMPLE, HEADING, LIST, PLACE, Block, read_blocks

from reconciler.cli.arguments import EPILOG, PROGRAM

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
TITLE = """\
# Commands

<!-- Written by scripts/make_commands_docs.py from the command line's grammar; do not edit. -->
"""
# What only a man page needs.
LEFT_OUT = ("NAME", "SYNOPSIS", "SEE ALSO")
CONFIGURATION = "`virt-reconciler-config`(5)"

# Where a verb is explained at length.
GUIDES = {
    "validate": "manifest.md",
    "plan": "plan.md",
    "snapshot": "how-to/plan-without-a-host.md",
    "apply": "how-to/apply-a-reviewed-plan.md",
    "run": "daemon.md",
    "config check": "configuration.md",
    "prune": "prune.md",
    "status": "status.md",
    "suspend": "how-to/suspend-a-machine.md",
    "resume": "how-to/suspend-a-machine.md",
    "retry": "status.md#trying-again",
    "history": "history.md",
    "rollback": "how-to/roll-back.md",
    "export": "export.md",
    "adopt": "how-to/adopt-machines.md#what-adopt-checks",
    "host check": "hosts.md#host-check",
    "template pull": "how-to/fetch-an-image.md",
    "console": "how-to/reach-a-guest.md",
    "import inspect": "how-to/from-vmware-to-virtio.md#write-the-manifest",
    "ssh": "how-to/reach-a-guest.md#by-ssh",
    "bench disk": "measuring-disks.md",
    "bench matrix": "measuring-disks.md#which-bus-cache-and-io-mode-is-fastest",
    "bench host": "measuring-disks.md#how-fast-are-processor-memory-and-network",
    "bench list": "measuring-disks.md#what-is-kept",
    "bench compare": "measuring-disks.md#what-changed",
    "schema": "manifest.md",
}


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    parts, section = [TITLE], ""
    for block in read_blocks("virt-reconciler.1"):
        section = block.text if block.kind == HEADING else section
        if section not in LEFT_OUT:
            parts.extend(f"{one}\n" for one in _render_block(block))
    return "\n".join(parts)


def _render_block(block: Block) -> Iterator[str]:
    if block.kind == HEADING:
        yield f"## {block.text.capitalize()}"
    elif block.kind == PLACE:
        yield from _FILLINGS[block.text]()
    elif block.kind == EXAMPLE:
        yield _code(block.text)
    elif block.kind == LIST:
        yield "\n".join(f"- `{term}`: {_join(text)}" for term, text in block.items)
    else:
        yield _join(block.text)


def _join(text: str) -> str:
    words = " ".join(text.split()).replace(CONFIGURATION, "[its page](configuration.md)")
    return re.sub(r"(\*\.\w+)", r"`\1`", words)


def _code(text: str) -> str:
    return f"```\n{text}\n```"


def _verbs() -> Iterator[str]:
    common = set(read_commands()[0].options)
    for command in read_commands():
        if not command.path or command.verbs:
            continue
        yield f"### {command.name}"
        yield _code(_usage(command))
        yield f"{command.description} [More…]({GUIDES[command.name]})"
        words = [
            argument
            for argument in (*command.arguments, *command.options)
            if argument not in common
        ]
        if words:
            yield _list(words)


def _usage(command: Command) -> str:
    words = [
        argument.value if argument.is_required else f"[{argument.value}]"
        for argument in command.arguments
    ]
    return " ".join((PROGRAM, command.name, "[OPTION...]", *words))


def _options() -> Iterator[str]:
    yield _list(read_commands()[0].options)


def _list(words: Iterable[Word]) -> str:
    return "\n".join(f"- `{_form(word)}`: {_meaning(word)}" for word in words)


def _form(word: Word) -> str:
    return " ".join(filter(None, (", ".join(word.flags), word.value)))


def _meaning(word: Word) -> str:
    needed = " (must be given)" if word.flags and word.is_required else ""
    return f"{word.help}{needed}"


def _exit() -> Iterator[str]:
    statuses, _, detailed = " ".join(EPILOG.split()).partition(": ")[2].partition(". ")
    yield "\n".join(f"- {word}" for word in statuses.split("; "))
    yield f"{detailed} [More…](plan.md#exit-status)"


_FILLINGS: Dict[str, Callable[[], Iterator[str]]] = {
    "VERBS": _verbs,
    "OPTIONS": _options,
    "EXIT": _exit,
}


if __name__ == "__main__":
    main()
