"""What the figures were measured on, in one line."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Sequence


def describe() -> str:
    """Return processors, memory, versions, and how busy the machine is with other things."""
    parts = (
        f"{os.cpu_count()} x {_find('/proc/cpuinfo', 'model name')}",
        f"{int(_find('/proc/meminfo', 'MemTotal').split()[0]) // 2**20} GiB",
        f"Python {platform.python_version()}",
        f"libvirt {_version('libvirtd', '--version')}",
        f"QEMU {_version('qemu-img', '--version')}",
        f"load before {os.getloadavg()[0]:.1f}",
    )
    return ", ".join(parts)


def _find(path: str, key: str) -> str:
    found = re.search(rf"^{key}\s*:\s*(.*)$", Path(path).read_text("ascii"), re.MULTILINE)
    return found[1] if found else "unknown"


def _version(*command: str) -> str:
    found = re.search(r"\d+(\.\d+)+", _run(command))
    return found[0] if found else "unknown"


def _run(command: Sequence[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
