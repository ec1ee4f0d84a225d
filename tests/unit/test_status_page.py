"""docs/status.md leaves out nothing that `status` can say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator

import pytest

from reconciler.core.overview import WORDS
from reconciler.core.render.json import render_overview_json
from reconciler.core.render.status import STATUS_HEADER, render_overview
from reconciler.core.render.text import Page, Style

from .render.overviews import GUESTS, NOW, TROUBLED

PAGE = (Path(__file__).parents[2] / "docs" / "status.md").read_text(encoding="utf-8")
ENTRIES = list(TROUBLED.entries.values())


def keys(value: Any) -> Iterator[str]:
    """Yield every key of a JSON document."""
    if isinstance(value, dict):
        yield from value
    for one in value.values() if isinstance(value, dict) else value:
        if isinstance(one, (dict, list)):
            yield from keys(one)


SHOWN = (*ENTRIES, *GUESTS.entries.values())
KEYS = sorted(set(keys(json.loads(render_overview_json(TROUBLED, SHOWN)))))
HEAD = render_overview(TROUBLED, ENTRIES, Page(Style()), NOW).split("\n\n")[0].splitlines()
LABELS = sorted({one.split(":")[0].strip() for one in HEAD if not one.startswith("   " * 4)})


@pytest.mark.parametrize("name", [*WORDS, *KEYS])
def test_every_word_and_key_is_explained(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("label", [one for one in LABELS if one != "Daemon"])
def test_every_line_about_the_manifests_is_explained(label: str) -> None:
    assert f"\n| {label} | " in PAGE


def test_the_table_is_as_on_the_page() -> None:
    assert any(tuple(line.split()) == STATUS_HEADER for line in PAGE.splitlines())
