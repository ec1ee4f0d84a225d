"""The catalog of the product's messages, read from its source and its schemas.

A message is a text of several words that is no docstring, no help of an option, and no error of a
programmer (ValueError and the like). Values in it are shown as `…`.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any, Iterator, Optional, Set

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, SCHEMAS = ROOT / "reconciler", ROOT / "schemas" / "v1"
VALUE = "…"
WORD = re.compile(r"[A-Za-z]{2,}")
LEAST = 4  # words; of a text that is certainly a message, one less
# Keywords and calls whose texts are for a manual or for programmers.
MANUAL = {"help", "description", "epilog", "metavar"}
PROGRAMMERS = {
    *(
        "ValueError",
        "AssertionError",
        "TypeError",
        "KeyError",
        "RuntimeError",
        "NotImplementedError",
    ),
    *("Metric", "Field", "Feature", "TypeVar", "NewType", "compile", "regex"),
    "UnknownKeywordError",
}
# Calls whose texts are certainly messages.
MESSAGES = re.compile(r"\w*Error|Finding|Problem|Unknown|Fault|Event|error|note|complain")


def read_catalog() -> Iterator[str]:
    """Yield each message once, in the order of the source; the advice of the schemas is last."""
    seen: Set[str] = set()
    for message in (*_read_code(), *_read_schemas()):
        if message not in seen:
            seen.add(message)
            yield message


def _read_code() -> Iterator[str]:
    for file in sorted(PACKAGE.rglob("*.py")):
        yield from _find(ast.parse(file.read_text(encoding="utf-8")), LEAST)


def _read_schemas() -> Iterator[str]:
    for file in sorted(SCHEMAS.glob("*.json")):
        yield from _find_advice(json.loads(file.read_text(encoding="utf-8")))


def _find_advice(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _find_advice(item)
    elif isinstance(node, dict):
        if isinstance(node.get("errorMessage"), str):
            yield node["errorMessage"]
        for item in node.values():
            yield from _find_advice(item)


def _find(node: ast.AST, least: int) -> Iterator[str]:
    if _is_for_others(node):
        return
    if isinstance(node, ast.Call) and MESSAGES.fullmatch(_name(node.func)):
        least = LEAST - 1
    text = _text(node)
    if text is not None:
        plain = " ".join(text.split())
        if " " in plain and len(WORD.findall(plain.replace(VALUE, " "))) >= least:
            yield plain
        return
    for child in ast.iter_child_nodes(node):
        yield from _find(child, least)


def _is_for_others(node: ast.AST) -> bool:
    """Whether a node is a docstring, or a text for a manual or for programmers."""
    if isinstance(node, ast.ClassDef):
        return any("Enum" in _name(base) for base in node.bases)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in MANUAL
    return isinstance(node, ast.Call) and _name(node.func) in PROGRAMMERS


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _text(node: ast.AST) -> Optional[str]:
    """Return the text of a literal or of several that are joined; None of anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or VALUE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is None and right is None else f"{left or VALUE}{right or VALUE}"
    return None
