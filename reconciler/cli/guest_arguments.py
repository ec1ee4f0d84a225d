"""The grammar of the verbs that get at a guest, or at a file of another hypervisor's.

On the start-up path: standard library only.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

from reconciler.cli.daemon_arguments import Verb


def _console(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "console",
        "open the serial console of a running guest",
        "Ctrl-] ends it, and the terminal is as it was.",
    )
    parser.add_argument("name", metavar="NAME", help="domain")
    parser.add_argument("--force", action="store_true", help="disconnect who has it open")


def _ssh(verbs: Any, verb: Verb) -> None:
    parser = verb(
        verbs,
        "ssh",
        "log into a running guest",
        "Runs ssh(1) to the address that the guest agent or a DHCP lease names, through the host "
        "of a qemu+ssh:// URI.",
    )
    parser.add_argument("name", metavar="NAME", help="domain")
    parser.add_argument(
        "arguments", metavar="ARG", nargs="*", help="for ssh, after `--`: options, or a command"
    )
    parser.add_argument(
        "-l",
        "--user",
        metavar="USER",
        help="log in as this user (default: the first user of the manifest's cloudInit, else "
        "ssh's own)",
    )
    parser.add_argument(
        "--direct", action="store_true", help="do not go through the host of a qemu+ssh:// URI"
    )


def _import(verbs: Any, verb: Verb) -> None:
    parser = verb(verbs, "import", "look into machines and disks of other hypervisors")
    below = parser.add_subparsers(
        dest="import_verb", metavar="VERB", required=True, help="what to do"
    )
    inspect = verb(
        below,
        "inspect",
        "write the manifest of an OVA, VMX or disk, to be reviewed",
        "Firmware, disks, network cards, processors, memory and system as far as the file says "
        "them. Its checksums are verified. Nothing is imported.",
    )
    inspect.add_argument("file", metavar="FILE", help="OVA, VMX, VMDK, VHDX, VDI, qcow2 or raw")
    inspect.add_argument(
        "--image-format",
        choices=("vmdk", "vhdx", "vdi", "vpc", "qcow2", "raw"),
        help="what an image is whose name does not say it",
    )


GUEST_VERBS: Mapping[str, Callable[[Any, Verb], None]] = {
    "console": _console,
    "import": _import,
    "ssh": _ssh,
}
