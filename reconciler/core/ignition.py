"""What Ignition in a guest is given for its first boot: a file that QEMU hands it by fw_cfg. Pure.

Fedora CoreOS and its relatives read it when they start for the first time. The file is JSON; what
people write is Butane, which another program translates.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import field
from typing import Any, Mapping, Union

from reconciler.core.cloud_init import DEFAULT_REMOVE_AFTER, Seed
from reconciler.core.frozen import frozen, regex

IGNITION_FILE = "config.ign"
RESULT = "/etc/.ignition-result.json"  # Ignition writes it when it has finished (2.14 and newer)
_VERSION = regex(r"3\.\d+\.\d+(-experimental)?")
_DIGITS = 12
_BUTANE = (
    "is Butane, which a guest cannot read: translate it with `butane --strict FILE`, and write "
    "here what it prints"
)


@frozen
class Ignition:
    """`ignition` of a manifest: the configuration, and how many seconds its file is kept."""

    config: Union[str, Mapping[str, Any]] = field(repr=False)
    remove_after: int = DEFAULT_REMOVE_AFTER

    @property
    def reruns(self) -> bool:
        """Whether a change has the guest run it again: nothing but a new machine does."""
        return False


def render_ignition(ignition: Ignition, name: str, count: int) -> Seed:
    """Return the file for a machine, with secrets as the manifest refers to them."""
    config = ignition.config
    text = config if isinstance(config, str) else json.dumps(config, indent=1, ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return Seed(f"{name}-{digest}-{count}", digest, ((IGNITION_FILE, text),))


def find_fault(config: Union[str, Mapping[str, Any]]) -> str:
    """Return why Ignition would not take the configuration; else empty."""
    try:
        data: Any = json.loads(config) if isinstance(config, str) else config
    except ValueError as error:
        is_butane = re.search(r"^variant\s*:", str(config), re.MULTILINE)
        return _BUTANE if is_butane else f"is not valid JSON: {error}"
    if not isinstance(data, dict):
        return "must be a mapping with ignition.version"
    if "variant" in data:
        return _BUTANE
    head = data.get("ignition")
    version = head.get("version") if isinstance(head, dict) else None
    if isinstance(version, str) and _VERSION.fullmatch(version):
        return ""
    return "is not Ignition of version 3: set ignition.version, like 3.4.0"
