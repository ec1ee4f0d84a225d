"""How a remote is reached: the key, the known hosts, and an address that can be shown."""

from __future__ import annotations

import os
import re
import shlex
from typing import Mapping, Optional

from reconciler.core.loop.settings import GitSource

_FILE = "file://"
CREDENTIAL = "deploy_key"
_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")


def find_key(settings: GitSource, credentials: Optional[str]) -> Optional[str]:
    """Return the deploy key's file: the setting, else systemd's credential of that name."""
    if settings.deploy_key is not None:
        return settings.deploy_key
    path = os.path.join(credentials, CREDENTIAL) if credentials else None
    return path if path and os.path.exists(path) else None


def ssh_environment(settings: GitSource, credentials: Optional[str]) -> Mapping[str, str]:
    """Return how git shall call ssh: never asking, never trusting an unknown host."""
    words = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    words += ["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"]
    key = find_key(settings, credentials)
    if key is not None:
        words += ["-i", key, "-o", "IdentitiesOnly=yes"]
    if settings.known_hosts is not None:
        words += ["-o", f"UserKnownHostsFile={settings.known_hosts}"]
    return {"GIT_SSH_COMMAND": " ".join(map(shlex.quote, words)), "GIT_SSH_VARIANT": "ssh"}


def local_folder(url: str) -> Optional[str]:
    """Return the folder of this host that an address means, or None."""
    path = url.removeprefix(_FILE)
    return path if path.startswith("/") else None


def hide_password(text: str) -> str:
    """Return a text without what stands before the host in an address."""
    return _PASSWORD.sub("", text)
