"""Pieces of Markdown as GitHub and GitLab read it, out of which no text of others breaks.

Such a text stands in code alone: there neither marks a mention, a reference or a command of GitLab,
nor is any Markdown or HTML in it read. It must be without control characters already.
"""

from __future__ import annotations

import html
import re
from typing import Iterable, List

_TICKS = re.compile("`+")
_FEWEST = 3  # backticks that open a fence


def code(text: str) -> str:
    """Return one line of text as code within a paragraph."""
    ticks = "`" * (_longest(text) + 1)
    # A space that is there on both sides is taken away again, so that ticks may stand at an end.
    pad = " " if text[:1] in ("`", " ", "") or text[-1:] in ("`", " ") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def code_in_html(text: str) -> str:
    """Return one line of text as code within a line of HTML."""
    return f"<code>{html.escape(text)}</code>"


def fence(lines: Iterable[str]) -> str:
    """Return lines as a block that is coloured by the sign that each begins with."""
    body = "\n".join(lines)
    ticks = "`" * max(_longest(body) + 1, _FEWEST)
    return f"{ticks}diff\n{body}\n{ticks}"


def fold(summary: str, body: str) -> str:
    """Return a block that is opened by a click; `summary` is one line of HTML."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def size(text: str) -> int:
    """Return how long a text is, in the unit in which it is longest.

    GitHub refuses a comment with "maximum is 65536 characters". What it counts is told differently:
    code points up to 65,536, or bytes up to 4 times as many
    (github.com/dead-claudia/github-limits/pull/13), and tools count UTF-16 units. A text has never
    more of any of these than it has bytes in UTF-8. GitLab takes 1,000,000 (its `Note` model).
    """
    return len(text.encode("utf-8"))


def _longest(text: str) -> int:
    runs: List[str] = _TICKS.findall(text)
    return max(map(len, runs), default=0)
