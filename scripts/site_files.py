"""A hook of mkdocs: what pages link outside of docs/ is part of the site, below files/.

A page says `[review.sh](../recipes/review.sh)`, which is right on a code forge and in a checkout.
mkdocs knows docs/ alone and would leave such a link broken; so the file comes along, and the link
is led there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "files"
OUTSIDE = re.compile(r"(?<=\]\()\.\./([^)#]+)")


def on_files(files: Any, config: Any) -> Any:
    """Add the files that pages link."""
    for page in list(files.documentation_pages()):
        for path in OUTSIDE.findall(page.content_string):
            name = f"{FOLDER}/{path}"
            if files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead the links to them."""
    return OUTSIDE.sub(rf"{FOLDER}/\1", markdown)
