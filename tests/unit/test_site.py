"""The pages hold together, on a code forge and as the site that `make site` builds.

Without mkdocs: its own check, `--strict`, sees the site only.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Set

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("**/*.md"))
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]

FENCE = re.compile(r"^( *)(```+).*?^\1\2$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)
ITEM = re.compile(r"^ *([-*]|[0-9]+\.) ")


def read_text(page: Path) -> str:
    """Return a page without what is code."""
    return COMMENT.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))


def find_links(page: Path) -> List[str]:
    text = re.sub(r"`[^`]*`", "", read_text(page))
    return [link for link in LINK.findall(text) if not link.startswith(("https://", "http://"))]


def slug_of_a_forge(title: str) -> str:
    """As GitHub makes an anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def slug_of_the_site(title: str) -> str:
    """As Python-Markdown does."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode("ascii")
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def find_anchors(page: Path, slug: Callable[[str], str], mark: str) -> Set[str]:
    """Return a page's anchors; the second of two equal ones has a number."""
    seen: Dict[str, int] = Counter()
    found = set()
    for _, title in HEADING.findall(read_text(page)):
        name = slug(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", ""))
        found.add(f"{name}{mark}{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def read_navigation() -> Iterator[str]:
    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, str):
            yield node
            return
        for one in node if isinstance(node, list) else node.values():
            yield from walk(one)

    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    yield from walk(settings["nav"])


def test_each_page_is_in_the_navigation_once_and_nothing_else_is() -> None:
    assert sorted(read_navigation()) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@pytest.mark.parametrize("page", [*PAGES, *OTHERS], ids=lambda page: page.name)
def test_each_link_leads_somewhere(page: Path) -> None:
    for link in find_links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in find_anchors(target, slug_of_a_forge, "-"), f"{page.name}: {link}"
            assert anchor in find_anchors(target, slug_of_the_site, "_"), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_site_has_what_a_page_links(page: Path) -> None:
    # scripts/site_files.py brings files along; a folder is no file, and a page would have no place.
    for link in find_links(page):
        target = (page.parent / link.partition("#")[0]).resolve()
        if target != page.parent and DOCS not in target.parents:
            assert target.is_file(), f"{page.name}: {link}"
            assert target.suffix != ".md", f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_one_title_and_it_comes_first(page: Path) -> None:
    levels = [len(one) for one, _ in HEADING.findall(read_text(page))]
    assert levels[:1] == [1]
    assert levels.count(1) == 1
    assert page.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_list_is_one_on_the_site_as_well(page: Path) -> None:
    # Python-Markdown takes a list right below a paragraph for a part of it; a forge does not.
    lines = read_text(page).split("\n")
    for before, line in zip(lines, lines[1:]):
        if ITEM.match(line):
            assert not before or before.startswith(" ") or ITEM.match(before), line
