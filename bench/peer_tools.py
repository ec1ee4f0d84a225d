"""Install the peers, in pinned versions, into an environment of their own in `.cache`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Optional, Tuple

ENVIRONMENT = Path(__file__).parents[1] / ".cache" / "bench-peers"


@dataclass(frozen=True)
class Tool:
    """What is installed, and from what."""

    program: str
    requirements: Tuple[str, ...]

    @property
    def path(self) -> str:
        """The program."""
        return str(ENVIRONMENT / "bin" / self.program)


# The package `ansible` brings the collection community.libvirt (2.0.0 in this version).
ANSIBLE = Tool("ansible-playbook", ("ansible==12.3.0", "lxml==6.0.2"))
KCLI = Tool("kcli", ("kcli==99.0.202610251748",))


def install(tool: Tool) -> Optional[str]:
    """Install the tool unless it is there; returns why it could not be."""
    requirements = (*tool.requirements, f"libvirt-python=={metadata.version('libvirt-python')}")
    stamp = ENVIRONMENT / f"{tool.program}.stamp"
    if stamp.exists() and stamp.read_text("ascii") == " ".join(requirements):
        return None
    print(f"installing {tool.program}", file=sys.stderr, flush=True)
    if not (ENVIRONMENT / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    command = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return done.stderr.strip().rsplit("\n", 1)[-1] or "pip says nothing"
    stamp.write_text(" ".join(requirements), "ascii")
    return None
