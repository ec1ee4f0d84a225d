"""Every command of ours that a page shows can be typed: verb, options and arguments exist."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from reconciler.cli.arguments import PROGRAM, build_parser
from reconciler.errors import UsageError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`(virt-reconciler [^`\n]+)`(?!`)")
# Messages of the product and usage lines are held by other tests.
GENERATED = {"commands.md", "troubleshooting.md"}
PROMPT = re.compile(r"^\$ ")
SHELL = {"|", "||", "&&", ";", "&", ">", ">>"}


# What a text may leave out that only names a verb: `virt-reconciler plan`.
LEFT_OUT = ("are required", "expected one argument", "expected at least one argument")


def find_commands() -> Iterator[Tuple[str, str]]:
    """Yield page and line of each command in a block or in the text."""
    for page in PAGES:
        if page.name in GENERATED:
            continue
        name, text = str(page.relative_to(ROOT)), page.read_text(encoding="utf-8")
        for _, form, block in FENCE.findall(text):
            for line in block.replace("\\\n", " ").splitlines():
                command = PROMPT.sub("", line.strip())
                if form in ("", "sh", "console") and command.startswith(f"{PROGRAM} "):
                    yield name, command
        for command in INLINE.findall(FENCE.sub("", text)):
            yield name, " ".join(command.split())


def read_words(command: str) -> List[str]:
    """Return the words that the program gets from a shell."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: List[str] = []
    for word in lexer:
        if word in SHELL:
            break
        words.append(word)
    if command.split(">")[0] != command and words and words[-1].isdigit():
        words.pop()  # 2>FILE
    return words[1:]


def find_error(words: List[str]) -> str:
    """Return what the program says of its command line; empty if it can be carried out."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            build_parser().parse_args(words)
        except SystemExit as end:
            return f"exit status {end.code}" if end.code else ""
        except UsageError as error:
            return str(error)
    return ""


COMMANDS = sorted(set(find_commands()))


def test_pages_show_commands() -> None:
    assert len(COMMANDS) > 100


@pytest.mark.parametrize(
    ("page", "command"), COMMANDS, ids=[f"{page}: {command}" for page, command in COMMANDS]
)
def test_a_command_in_a_page_can_be_typed(page: str, command: str) -> None:
    words = read_words(command)
    if not words or words[0] in ("…", "VERB"):
        return
    error = find_error(words)
    assert not error or any(part in error for part in LEFT_OUT), f"{page}: {command}: {error}"
