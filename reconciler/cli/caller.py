"""Who calls: the person behind sudo, if there is one."""

from __future__ import annotations

import os
import pwd
from typing import Mapping

ROOT = 0


def find_caller(environ: Mapping[str, str]) -> str:
    """Return the user's name; its number if it has none.

    What sudo says is believed only as root: anybody else may have set it.
    """
    number = os.getuid()
    behind = environ.get("SUDO_USER", "")
    if number == ROOT and behind:
        return behind
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
