"""Ask the running guest what it sees, through its agent: the only honest witness of an effect."""

from __future__ import annotations

import base64
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Dict, List, Mapping, Tuple

import libvirt
import libvirt_qemu

from reconciler.core.model import Overlay
from tests.lab.guest_image import build_guest

POLL = 0.1  # seconds
ATTEMPTS = 3


def boot_overlays(*, packed: bool = False) -> Tuple[Overlay, ...]:
    """Return what makes any machine boot the test's kernel, unpacked (quicker) or as packed."""
    image = build_guest()
    return (
        Overlay("/domain/os", f"<kernel>{image.bzimage if packed else image.kernel}</kernel>"),
        Overlay("/domain/os", f"<initrd>{image.initrd}</initrd>"),
        Overlay(
            "/domain/os",
            "<cmdline>console=ttyS0 quiet panic=-1 edd=off mitigations=off nokaslr</cmdline>",
        ),
    )


@dataclass(frozen=True)
class Guest:
    """One running guest of a host."""

    uri: str
    name: str

    @cached_property
    def _connection(self) -> Any:
        return libvirt.open(self.uri)

    def ask(self, command: str, limit: int = 5, **arguments: Any) -> Any:
        """Send one command to the agent and return its answer."""
        domain = self._connection.lookupByName(self.name)
        text = json.dumps({"execute": command, "arguments": arguments})
        return json.loads(libvirt_qemu.qemuAgentCommand(domain, text, limit, 0))["return"]

    def wait_ready(self, limit: float) -> None:
        """Wait until the agent answers.

        Without KVM one boot in some forty of the unpacked kernel finds its PCI devices asleep
        ("Unable to change power state from D3cold"), the agent's channel too; it is reset then.
        """
        deadline = time.monotonic() + limit
        while not self._is_ready(min(deadline, time.monotonic() + limit / ATTEMPTS)):
            if time.monotonic() > deadline:
                self.ask("guest-ping", 1)
            self._connection.lookupByName(self.name).reset()

    def _is_ready(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            with suppress(libvirt.libvirtError):
                self.ask("guest-ping", 1)
                return True
            time.sleep(POLL)
        return False

    def exec(self, *command: str) -> str:
        """Run a program in the guest and return what it prints."""
        path, *rest = command
        full = path if path.startswith("/") else f"/bin/{path}"
        started = self.ask("guest-exec", path=full, arg=rest, **{"capture-output": True})
        while True:
            status = self.ask("guest-exec-status", pid=started["pid"])
            if status["exited"]:
                return base64.b64decode(status.get("out-data", "")).decode()
            time.sleep(0.02)

    def block_devices(self) -> Mapping[str, int]:
        """Return the guest's disks and drives → size in bytes."""
        text = self.exec("sh", "-c", "cd /sys/block; for d in *; do echo $d $(cat $d/size); done")
        pairs = [line.split() for line in text.splitlines()]
        return {name: int(size) * 512 for name, size in pairs}

    def interfaces(self) -> Mapping[str, str]:
        """Return MAC → name of the guest's network interfaces, loopback left out."""
        script = "cd /sys/class/net; for n in *; do echo $(cat $n/address) $n; done"
        pairs: List[List[str]] = [
            line.split() for line in self.exec("sh", "-c", script).splitlines()
        ]
        found: Dict[str, str] = {mac: name for mac, name in pairs if name != "lo"}
        return found

    def carrier(self, mac: str) -> bool:
        """Whether the guest sees a link."""
        name = self.interfaces()[mac]
        return self.exec("cat", f"/sys/class/net/{name}/carrier").strip() == "1"

    def online_cpus(self) -> int:
        """Count the processors that the guest uses."""
        text = self.exec("grep", "-c", "^processor", "/proc/cpuinfo")
        return int(text)

    def memory_kib(self) -> int:
        """Return the memory that the guest has."""
        first = self.exec("head", "-n1", "/proc/meminfo")
        return int(first.split()[1])

    def medium_size(self) -> int:
        """Return the bytes of the medium in the first drive that the guest can read, 0 for none."""
        return int(self.exec("sh", "-c", "dd if=/dev/sr0 bs=2048 2>/dev/null | wc -c"))

    def boot_id(self) -> str:
        """Return what changes with every start of the guest."""
        return self.exec("cat", "/proc/sys/kernel/random/boot_id").strip()
