"""Manifests as text, for tests to change one thing in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

import yaml

from reconciler.adapters.manifests.reader import load_manifests
from reconciler.core.manifest_files import LoadedManifests


def machine(name: str = "web", **spec: Any) -> str:
    """Return a VirtualMachine document."""
    return _document("VirtualMachine", name, spec)


def template(name: str = "base", **spec: Any) -> str:
    """Return a Template document."""
    return _document("Template", name, spec or {"image": "/images/base.qcow2"})


def host(name: str = "kvm01", selector: Any = None, **daemons: Any) -> str:
    """Return a Host document; `selector` is left out if it is None."""
    spec = {} if selector is None else {"selector": selector}
    return _document("Host", name, {**spec, "daemons": {"mode": "modular", **daemons}})


def _document(kind: str, name: str, spec: Any) -> str:
    head = {"apiVersion": "virt-reconciler/v1", "kind": kind, "metadata": {"name": name}}
    return yaml.safe_dump({**head, "spec": spec}, sort_keys=False, width=1000)


def load(folder: Path, *texts: str) -> LoadedManifests:
    """Write the documents into one file and load it."""
    path = folder / "manifests.yaml"
    path.write_text("---\n".join(texts), encoding="utf-8")
    return load_manifests([str(path)])


def complaints(folder: Path, *texts: str) -> List[Tuple[str, str]]:
    """Return path and message of each problem."""
    return [(problem.path, problem.message) for problem in load(folder, *texts).problems]
