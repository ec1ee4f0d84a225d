"""What an operating system's libosinfo short id says about the guest.

Names only; nothing here knows a device, a manifest or libosinfo's database.
"""

from __future__ import annotations

import re
from typing import Optional, Tuple

_WINDOWS = re.compile(r"win(\d|nt|xp|vista|me)", re.IGNORECASE)
_NEEDS_TPM = frozenset({"win11", "win2k25"})

# Short id → libosinfo's full id. Only families whose full ids follow their short ids without
# exception stand here: a wrong id is worse for other tools than none.
_FULL_IDS: Tuple[Tuple[str, str], ...] = (
    (r"almalinux(\d+(?:\.\d+)?)", "http://almalinux.org/almalinux/{}"),
    (r"centos-stream(\d+)", "http://centos.org/centos-stream/{}"),
    (r"debian(\d+)", "http://debian.org/debian/{}"),
    (r"fedora(\d+)", "http://fedoraproject.org/fedora/{}"),
    (r"rhel(\d+\.\d+)", "http://redhat.com/rhel/{}"),
    (r"rocky(\d+(?:\.\d+)?)", "http://rockylinux.org/rocky/{}"),
    (r"ubuntu(\d\d\.\d\d)", "http://ubuntu.com/ubuntu/{}"),
    (r"win(2k\d\d?r2|2k\d\d?|\d\d?)", "http://microsoft.com/win/{}"),
)


def is_windows(os: Optional[str]) -> bool:
    """Whether the short id names a Windows; an unknown or missing one does not."""
    return os is not None and _WINDOWS.match(os) is not None


def needs_tpm(os: Optional[str]) -> bool:
    """Whether the system does not install or run as supported without a TPM 2.0."""
    return os in _NEEDS_TPM


def full_id(os: Optional[str]) -> Optional[str]:
    """Return libosinfo's full id of a short id, or None where it cannot be told for certain."""
    for pattern, form in _FULL_IDS:
        found = re.fullmatch(pattern, os or "")
        if found:
            return form.format(found.group(1))
    return None
