"""From the plain data of a manifest document to checked values. Pure.

Knows the format's fields; never a file, YAML or libvirt. What is wrong is a `Finding` at a path,
and where that path stands in a file is the reader's business.
"""

from __future__ import annotations

from reconciler.core.document.build import build_host, build_machine, build_template
from reconciler.core.document.checks import check_machine, check_template
from reconciler.core.document.finding import Clash, Finding, Path, format_path
from reconciler.core.document.hosts import check_host
from reconciler.core.document.kinds import KINDS, find_kind
from reconciler.core.document.schema import compile_schema
from reconciler.core.document.together import check_together

__all__ = [
    "KINDS",
    "Clash",
    "Finding",
    "Path",
    "build_host",
    "build_machine",
    "build_template",
    "check_host",
    "check_machine",
    "check_template",
    "check_together",
    "compile_schema",
    "find_kind",
    "format_path",
]
