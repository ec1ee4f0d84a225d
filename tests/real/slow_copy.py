"""`virt-reconciler apply`, whose copy of a running machine is slow enough to be disturbed.

`python -m tests.real.slow_copy URI PATH`: says `copying` on a line as soon as a disk is copied, at
no more than 64 KiB a second.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import libvirt_qemu

from reconciler.adapters.libvirt import live_copy
from reconciler.cli import main

SPEED = 65536


def list_jobs(domain: Any) -> Any:
    """Return the jobs of the guest's disks."""
    asked = libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": "query-block-jobs"}), 0)
    return json.loads(asked)["return"]


def brake(domain: Any) -> None:
    """Have all jobs of the guest's disks done slowly."""
    for job in list_jobs(domain):
        arguments = {"device": job["device"], "speed": SPEED}
        command = json.dumps({"execute": "block-job-set-speed", "arguments": arguments})
        libvirt_qemu.qemuMonitorCommand(domain, command, 0)


def slow() -> None:
    """Have disks copied slowly in this process."""
    wait = live_copy._wait

    def brake_and_wait(domain: Any, step: Any, progress: Any) -> None:
        brake(domain)
        if list_jobs(domain):  # else it was done before, and nothing is said
            sys.stdout.write("copying\n")
            sys.stdout.flush()
        wait(domain, step, progress)

    setattr(live_copy, "_wait", brake_and_wait)  # noqa: B010 - as mypy has it


if __name__ == "__main__":
    uri, path = sys.argv[1:]
    os.nice(-20)  # the brake must come before the copy is done, also on a busy machine
    slow()
    sys.exit(main(["--connect", uri, "apply", "--yes", path]))
