"""The systemctl command: all units in one call, and one change at a time. Judges nothing."""

from __future__ import annotations

import os
import subprocess
from typing import Dict, List, Mapping, Sequence, Tuple

from reconciler.core.daemons.faults import Verb
from reconciler.core.daemons.view import Unit
from reconciler.errors import TerminalError, TransientError

BOOTED = "/run/systemd/system"  # sd_booted(3)
SHOW_LIMIT = 10.0  # seconds
CHANGE_LIMIT = 120.0  # seconds; systemd gives a service 90 to start
# What polkit is asked without the unit's name. For whom it is to allow only some units, the package
# has a service for each, `virt-reconciler-enable@UNIT.service`, which is started by name.
_BY_SERVICE = frozenset({Verb.ENABLE, Verb.DISABLE, Verb.MASK})
_FIELDS = ("Id", "LoadState", "ActiveState", "UnitFileState", "Result")


def is_there() -> bool:
    """Whether this host was booted with systemd."""
    return os.path.isdir(BOOTED)


def show(names: Sequence[str]) -> Mapping[str, Unit]:
    """Return the state of units. Raises TransientError if systemd does not say."""
    text = _run(["show", "-p", ",".join(_FIELDS), "--", *names], SHOW_LIMIT)
    blocks = [_fields(one) for one in text.split("\n\n") if one.strip()]
    return {one["Id"]: _unit(one) for one in blocks if "Id" in one}


def change(verb: Verb, units: Tuple[str, ...]) -> None:
    """Do one thing to units. Raises TerminalError with systemd's reason."""
    words = [verb.value, "--", *units]
    if verb in _BY_SERVICE and os.geteuid() != 0:
        words = ["start", "--", *(f"virt-reconciler-{verb.value}@{one}.service" for one in units)]
    _run(["--no-ask-password", *words], CHANGE_LIMIT)


def _fields(block: str) -> Dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, _, value in pairs}


def _unit(fields: Mapping[str, str]) -> Unit:
    load, active = fields.get("LoadState", ""), fields.get("ActiveState", "")
    return Unit(load, active, fields.get("UnitFileState", ""), fields.get("Result", ""))


def _run(words: List[str], limit: float) -> str:
    told = f"systemctl {' '.join(one for one in words if not one.startswith('-'))}"
    try:
        done = subprocess.run(
            ["systemctl", "--no-pager", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"{told}: no answer within {limit:.0f} s") from error
    except OSError as error:
        raise TransientError(f"{told}: {error}") from error
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise (TransientError if words[0] == "show" else TerminalError)(f"{told}: {why}")
    return done.stdout
