"""Pages are written in plain words: none of the phrases that readers stumbled over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, List

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Their words come from the code and are not revised here.
GENERATED = {"commands.md", "effects.md", "journal.md"}
CODE = re.compile(r"^( *)```.*?^\1```$|<!--.*?-->|``.*?``|`[^`]*`", re.MULTILINE | re.DOTALL)

# Phrase → what to write.
PHRASES: Dict[str, str] = {
    r"\bis no (?:manifest|plan|snapshot|file|domain|volume|bug)\b": "is not a",
    r"\bstands? (?:in|there|for|beside)\b": "is in, is stored in",
    r"\b(?:is|are|was|were|be) told\b|\btells? the journal\b": "is reported, logged",
    r"\b(?:looked|looks) at\b": "inspected, checked",
    r"\btakes? hold\b": "takes effect",
    r"\b(?:is|are|was) gone\b(?! there)": "is removed, is lost",
    r"\bgoes with\b|\bmanifest goes\b": "is removed",
    r"\bgoes on\b|\bgo on with\b": "continues",
    r"\bso it is (?:when|where)\b|\bas far as may be\b": "also when",
    r"\bshall\b": "present tense",
    r"\banew\b": "again",
    r"\btake[sn]? (?:it |them |one )?over\b(?! it)": "adopt",
    r"\btaken up\b|\btakes? up again\b": "resumed",
    r"\b(?:is|are|was|be) wanted\b": "the manifest says",
    r"\bwritten down\b|\bwrites? down\b": "recorded",
    r"\bleft alone\b": "not touched, suspended",
    r"\bnot ours\b|\bours yet\b": "not managed",
    r"\bwhoever\b": "who, anyone who",
    r"\bbrought back to\b": "changed back to",
    r"\bput right\b|\bmend(?:s|ed)?\b": "repaired, corrected",
    r"\bonly ever\b|\bever only\b": "only",
    r"\bsomebody\b": "someone",
}


def read_prose(page: Path) -> List[str]:
    """Return the paragraphs of a page without code."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(part.split()) for part in text.split("\n\n")]


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in GENERATED],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_page_has_none_of_the_phrases(page: Path) -> None:
    found = [
        f"{match[0]!r} → {better}: …{part[max(0, match.start() - 40) : match.end() + 30]}…"
        for part in read_prose(page)
        for phrase, better in PHRASES.items()
        for match in re.finditer(phrase, part, re.IGNORECASE)
    ]
    assert found == []
