"""Where the demo's commands are shown, run, and held to what they should end with.

Every line that begins with `$` is a command as a person would type it, and what follows is its real
output.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict

from tests.lab.surroundings import PLAIN

ROOT = Path(__file__).resolve().parents[2]
TERMINAL = ("TERM", "NO_COLOR", "PYTHONPATH")
HEADING, COMMAND = "1;34", "1"  # blue, bold


class StageError(Exception):
    """Something did not come out as it should."""


@dataclass(frozen=True)
class Stage:
    """The host at `uri`, and the terminal. What commands remember goes below `home`."""

    uri: str
    home: Path

    def say(self, text: str) -> None:
        """Tell what comes next."""
        print(f"\n\n{_paint(HEADING, f'# {text}')}", flush=True)

    def show(self, line: str) -> None:
        """Show what a person would type."""
        print(f"\n{_paint(COMMAND, f'$ {line}')}", flush=True)

    def reconcile(self, *words: str, status: int = 0) -> None:
        """Run our command; its exit status is shown where a script would ask for it."""
        asked = "--detailed-exitcode" in words
        self.show(shlex.join(("virt-reconciler", *words)) + ("; echo $?" if asked else ""))
        program = Path(sys.executable).parent / "virt-reconciler"
        # No other programs: libguestfs would look into the empty images of the templates.
        environ = {**self._environment(), "PATH": str(program.parent)}
        done = subprocess.run([program, *words], cwd=ROOT, env=environ, check=False)
        if asked:
            print(done.returncode, flush=True)
        if done.returncode != status:
            raise StageError(f"virt-reconciler ended with {done.returncode}, not {status}")

    def virsh(self, words: str) -> None:
        """Run libvirt's own command."""
        self.show(f"virsh {words}")
        text = self.look(words)
        if text:
            print(text, flush=True)

    def look(self, words: str) -> str:
        """Return what libvirt's own command says, away from the terminal."""
        done = subprocess.run(
            ["virsh", "-c", self.uri, *shlex.split(words)],
            env=self._environment(),
            check=False,
            capture_output=True,
            text=True,
            start_new_session=True,  # with a terminal it would look for a polkit agent
        )
        if done.returncode:
            raise StageError(f"virsh {words}: {done.stderr.strip()}")
        return done.stdout.strip("\n")

    def _environment(self) -> Dict[str, str]:
        """Return what every command is given: of the user's, how the terminal is and no more."""
        given = {name: os.environ[name] for name in TERMINAL if name in os.environ}
        settings = {"LIBVIRT_DEFAULT_URI": self.uri, "PYTHONDONTWRITEBYTECODE": "1"}
        return {**PLAIN, **given, **settings, "HOME": str(self.home)}


def _paint(code: str, text: str) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not sys.stdout.isatty() else f"\033[{code}m{text}\033[0m"
