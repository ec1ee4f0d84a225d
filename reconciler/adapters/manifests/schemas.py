"""The schema files of this installation, as text and compiled. Reads files, checks nothing."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Mapping

from reconciler.core.document import KINDS, compile_schema
from reconciler.core.document.kinds import CONFIGURATION, DOCUMENTS
from reconciler.core.document.schema import Test
from reconciler.errors import UsageError

_NAMES = (*KINDS, CONFIGURATION, *DOCUMENTS)
# In a checkout this is a link to the folder `schemas` at the top.
_FOLDER = Path(__file__).parents[2] / "schemas" / "v1"


def read_schema(kind: str) -> str:
    """Return the JSON Schema of a kind as text; `all` is the one for editors."""
    if kind not in (*_NAMES, "all"):
        raise UsageError(f"there is no schema {kind!r}; there are {', '.join(_NAMES)} and all")
    return (_FOLDER / f"{kind}.json").read_text(encoding="utf-8")


@cache
def load_schema(kind: str) -> Mapping[str, Any]:
    """Return the schema of a kind as data; not to be changed."""
    schema: Mapping[str, Any] = json.loads(read_schema(kind))
    return schema


@cache
def is_valid(kind: str) -> Test:
    """Return the fast predicate of a kind."""
    return compile_schema(load_schema(kind))
