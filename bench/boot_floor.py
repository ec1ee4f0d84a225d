"""libvirt's own way to a guest that is ready: make the volume, define, start, ask the agent.

`boot_floor URI SOURCE XML SIGN SEED TARGET`: SOURCE is the template's image, XML a file with the
domain, SIGN a file that the guest has when it is ready. SEED is copied to TARGET before.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import libvirt  # type: ignore[import-untyped,unused-ignore]  # the binding has no types
import libvirt_qemu  # type: ignore[import-untyped,unused-ignore]

from bench.clone_floor import make_volume

POLL = 0.1  # seconds
LIMIT = 900.0  # seconds


def main(uri: str, source: str, xml: str, sign: str, seed: str, target: str) -> None:
    """Boot one guest, and wait for it."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open(uri)
    shutil.copy(seed, target)
    make_volume(connection, "default", "clone-root.qcow2", source, "linked")
    domain = connection.defineXML(Path(xml).read_text(encoding="utf-8"))
    domain.create()
    ask = json.dumps({"execute": "guest-file-open", "arguments": {"path": sign}})
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            libvirt_qemu.qemuAgentCommand(domain, ask, 1, 0)
        except libvirt.libvirtError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)
        else:
            print("the guest is ready")
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
