"""Read packaging/man/*.in: one text for the man pages and for docs/commands.md.

A template has headings (`# NAME`), paragraphs, lists (`- term`, its text indented by two), examples
(indented by four), `code`, and `@PLACES@` that each page fills in its own way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Tuple

FOLDER = Path(__file__).resolve().parents[1] / "packaging" / "man"

HEADING, PLACE, EXAMPLE, LIST, PARAGRAPH = "heading", "place", "example", "list", "paragraph"


@dataclass(frozen=True)
class Block:
    """A piece of a page: its text, or of a list the terms with theirs."""

    kind: str
    text: str
    items: Tuple[Tuple[str, str], ...] = ()


def read_blocks(page: str) -> Iterator[Block]:
    """Yield what the template of a page consists of."""
    source = (FOLDER / f"{page}.in").read_text(encoding="utf-8")
    for text in re.split(r"\n{2,}", source.strip("\n")):
        yield _block(text)


def _block(text: str) -> Block:
    if text.startswith("# "):
        return Block(HEADING, text[2:])
    if text.startswith("@"):
        return Block(PLACE, text.strip("@"))
    if text.startswith("    "):
        return Block(EXAMPLE, "\n".join(line[4:] for line in text.split("\n")))
    if text.startswith("- "):
        return Block(LIST, text, tuple(map(_item, re.split(r"\n(?=- )", text))))
    return Block(PARAGRAPH, text)


def _item(text: str) -> Tuple[str, str]:
    term, _, rest = text[2:].partition("\n")
    return term, rest
