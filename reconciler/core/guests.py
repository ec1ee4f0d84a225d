"""What an operating system's libosinfo short id says about the guest.

Names only; nothing here knows a device, a manifest or libosinfo's database.
"""

from __future__ import annotations

import re
from typing import List, Optional, Tuple

_WINDOWS = re.compile(r"win(\d|nt|xp|vista|me)", re.IGNORECASE)
_NEEDS_TPM = frozenset({"win11", "win2k25"})

# Short id, version, libosinfo's full id. Only families whose full ids follow their short ids
# without exception stand here: a wrong id is worse for other tools than none.
_FULL_IDS: Tuple[Tuple[str, str, str], ...] = (
    ("almalinux{}", r"(\d+(?:\.\d+)?)", "http://almalinux.org/almalinux/{}"),
    ("centos-stream{}", r"(\d+)", "http://centos.org/centos-stream/{}"),
    ("debian{}", r"(\d+)", "http://debian.org/debian/{}"),
    ("fedora{}", r"(\d+)", "http://fedoraproject.org/fedora/{}"),
    ("rhel{}", r"(\d+\.\d+)", "http://redhat.com/rhel/{}"),
    ("rocky{}", r"(\d+(?:\.\d+)?)", "http://rockylinux.org/rocky/{}"),
    ("ubuntu{}", r"(\d\d\.\d\d)", "http://ubuntu.com/ubuntu/{}"),
    ("win{}", r"(2k\d\d?r2|2k\d\d?|\d\d?)", "http://microsoft.com/win/{}"),
)


def is_windows(os: Optional[str]) -> bool:
    """Whether the short id names a Windows; an unknown or missing one does not."""
    return os is not None and _WINDOWS.match(os) is not None


def needs_tpm(os: Optional[str]) -> bool:
    """Whether the system does not install or run as supported without a TPM 2.0."""
    return os in _NEEDS_TPM


def full_id(os: Optional[str]) -> Optional[str]:
    """Return libosinfo's full id of a short id, or None where it cannot be told for certain."""
    return _translate(os or "", [(short, version, full) for short, version, full in _FULL_IDS])


def short_id(full: str) -> Optional[str]:
    """Return the short id of libosinfo's full id, or None where it cannot be told for certain."""
    return _translate(full, [(full, version, short) for short, version, full in _FULL_IDS])


def _translate(text: str, rows: List[Tuple[str, str, str]]) -> Optional[str]:
    for known, version, wanted in rows:
        found = re.fullmatch(re.escape(known).replace(r"\{\}", version), text)
        if found:
            return wanted.format(found.group(1))
    return None
