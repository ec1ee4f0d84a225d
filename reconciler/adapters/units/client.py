"""Which URI libvirt's client library uses on its own: environment, then its configuration."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Mapping, Optional

from reconciler.core.daemons.client import (
    DEFAULT_ROOT,
    DEFAULT_USER,
    LEGACY,
    find_socket,
    find_uri,
)

_DEFAULT = re.compile(r"""^\s*uri_default\s*=\s*["']([^"']+)["']""", re.MULTILINE)


def read_uri(given: Optional[str], environ: Mapping[str, str]) -> str:
    """Return the URI in use, as far as it can be known without connecting."""
    is_root = os.geteuid() == 0
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    folder = "/etc/libvirt" if is_root else os.path.join(home, "libvirt")
    return find_uri(
        given, environ.get("LIBVIRT_DEFAULT_URI"), _read_configured(Path(folder)), is_root=is_root
    )


def chooses_session(environ: Mapping[str, str]) -> bool:
    """Whether libvirt, unasked, takes this user's own host where there is one for all."""
    if read_uri(None, environ) != DEFAULT_USER:
        return False
    return any(os.path.exists(one) for one in (find_socket(DEFAULT_ROOT, os.path.exists), LEGACY))


def _read_configured(folder: Path) -> Optional[str]:
    try:
        text = (folder / "libvirt.conf").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = _DEFAULT.search(text)
    return match.group(1) if match else None
