"""A hook of mkdocs: files outside of docs/ that pages link become part of the site, below files/.

A page says `[review.sh](../../recipes/review.sh)`, which works on a code forge and in a checkout.
mkdocs knows docs/ only and would leave such a link broken. So the file is added to the site, and
the link is changed to it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Optional

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FOLDER = "files"
LINK = re.compile(r"(?<=\]\()((?:\.\./)+[^)#]+)")


def on_files(files: Any, config: Any) -> Any:
    """Add the files that pages link."""
    for page in list(files.documentation_pages()):
        for link in LINK.findall(page.content_string):
            path = _find_outside(page.src_uri, link)
            name = f"{FOLDER}/{path}"
            if path is not None and files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Change the links to them."""
    return LINK.sub(lambda link: _lead(link[1], page.file.src_uri), markdown)


def _lead(link: str, page: str) -> str:
    path = _find_outside(page, link)
    return link if path is None else f"{'../' * page.count('/')}{FOLDER}/{path}"


def _find_outside(page: str, link: str) -> Optional[str]:
    """Return the path from the root of a file that is not in docs/; None for others."""
    target = os.path.normpath(DOCS / Path(page).parent / link)
    path = os.path.relpath(target, ROOT)
    return None if path.startswith("docs/") else path
