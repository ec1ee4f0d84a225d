"""Manifest files: read strictly, check wholly, report every problem at once."""

from __future__ import annotations

from reconciler.adapters.manifests.files import read_manifest_files
from reconciler.adapters.manifests.loading import Loaded, load_files, load_manifests, read_manifests
from reconciler.adapters.manifests.schema_errors import read_schema

__all__ = [
    "Loaded",
    "load_files",
    "load_manifests",
    "read_manifest_files",
    "read_manifests",
    "read_schema",
]
