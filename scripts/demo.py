"""The main job on real QEMU: from an empty host to an empty plan, then drift and its repair.

Called by `./demo`. Every line that begins with `$` is a command as a person would type it, and what
follows is its real output. A command that ends otherwise than it should ends the demo.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import LabHost

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = "manifests/examples"
MIB = 2**20
# Image → size, and how much of it holds data, so that a full clone has something to copy.
IMAGES = {"rocky9-base.qcow2": ("10G", 64 * MIB), "win2016-base.qcow2": ("60G", 256 * MIB)}
CHANGES = 2  # exit status of a plan that has some

# What people do by hand, and forget.
BY_HAND = (
    "attach-disk vm006-win2016 '' sdb --type cdrom --targetbus sata --config",
    "autostart web01 --disable",
    "destroy web01",
    "detach-disk db01 sda --live --config",
)


class StageError(Exception):
    """A command that did not end as it should."""


@dataclass(frozen=True)
class Stage:
    """Where commands are shown and run."""

    host: LabHost

    def say(self, text: str) -> None:
        """Tell what comes next."""
        bold, plain = ("\033[1m", "\033[0m") if _in_colour() else ("", "")
        print(f"\n{bold}# {text}{plain}", flush=True)

    def reconcile(self, *words: str, status: int = 0) -> None:
        """Run our command on the examples."""
        self._run("virt-reconciler", *words, status=status)

    def virsh(self, *words: str) -> None:
        """Run libvirt's own command."""
        self._run("virsh", "-q", *words)

    def _run(self, *words: str, status: int = 0) -> None:
        print(f"\n$ {shlex.join(words)}", flush=True)
        # Without the terminal virsh looks for no polkit agent, and says nothing of one.
        apart = words[0] == "virsh"
        done = subprocess.run(
            words, cwd=ROOT, env=self._environment(), check=False, start_new_session=apart
        )
        if done.returncode != status:
            raise StageError(f"{words[0]} ended with {done.returncode}, not {status}")

    def _environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        settings = {"LIBVIRT_DEFAULT_URI": self.host.uri(), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, "PATH": path, **settings}


def _in_colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def main() -> None:
    """Run the demo and clean up, whatever happens."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="vr-demo-"))
    try:
        # Not with KVM: where it is nested, it may be there and not work.
        with LabHost(folder, kvm=False) as host:
            play(Stage(host))
    except KeyboardInterrupt:
        sys.exit(130)
    except StageError as error:
        sys.exit(f"demo: {error}")
    finally:
        shutil.rmtree(folder)
    seconds = time.monotonic() - started
    print(f"\nDone in {seconds:.0f} s. The private host and all its files are gone.")


def play(stage: Stage) -> None:
    """Show the main job."""
    _make_images(stage.host)
    stage.say("An empty host; only the templates' images are there.")
    stage.virsh("list", "--all")
    stage.virsh("vol-list", "default")
    stage.say("The manifests are checked without libvirt, then planned: nothing is changed yet.")
    stage.reconcile("validate", EXAMPLES)
    stage.reconcile("plan", EXAMPLES)
    stage.say("Apply does just that.")
    stage.reconcile("apply", "--yes", EXAMPLES)
    stage.virsh("list", "--all")
    stage.say("Now the plan is empty.")
    stage.reconcile("plan", "--detailed-exitcode", EXAMPLES)
    stage.say("Somebody works by hand: a drive comes, a disk goes, a machine is switched off.")
    for words in BY_HAND:
        stage.virsh(*shlex.split(words))
    stage.say("The drift, and what its repair would do to each guest.")
    stage.reconcile("plan", "--detailed-exitcode", EXAMPLES, status=CHANGES)
    stage.reconcile("apply", "--yes", EXAMPLES)
    stage.say("The host is as the manifests say.")
    stage.reconcile("plan", "--detailed-exitcode", EXAMPLES)
    stage.reconcile("status")


def _make_images(host: LabHost) -> None:
    for name, (size, data) in IMAGES.items():
        path = host.images / name
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, size], check=True)
        write = f"write -q -P 85 0 {data}"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", write, path], check=True)
    host.virsh("pool-refresh", "default")


if __name__ == "__main__":
    main()
