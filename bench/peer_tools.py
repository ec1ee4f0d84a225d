"""Install the peers, as requirements/bench.txt locks them, into an environment in `.cache`."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / ".cache" / "bench-peers"


@dataclass(frozen=True)
class Tool:
    """A program of the environment."""

    program: str

    @property
    def path(self) -> str:
        """The program."""
        return str(ENVIRONMENT / "bin" / self.program)


# The package `ansible` brings the collection community.libvirt (2.0.0 in the locked version).
ANSIBLE = Tool("ansible-playbook")
KCLI = Tool("kcli")


def install(tool: Tool) -> Optional[str]:
    """Install the tool unless it is there; returns why it could not be."""
    print(f"installing {tool.program}", file=sys.stderr, flush=True)
    command = ["sh", str(ROOT / "scripts" / "install"), "--bench"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        return done.stderr.strip().rsplit("\n", 1)[-1] or "pip prints no reason"
    return None
