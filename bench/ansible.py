"""Ansible: a playbook that defines machines as they are defined already, in its own loop."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Tuple

from bench.fleet import Fleet
from bench.peer_tools import ANSIBLE, ENVIRONMENT
from bench.timing import Contender

COUNTS = (1, 10, 100)

PLAYBOOK = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - community.libvirt.virt:
        command: define
        uri: {uri}
        xml: "{{{{ lookup('file', item) }}}}"
      loop: "{{{{ query('fileglob', playbook_dir ~ '/*.xml') }}}}"
"""
NOTHING_CHANGED = "ok=1    changed=0"


def contenders(fleet: Fleet) -> Tuple[Contender, ...]:
    """Return one run for each count of machines."""
    return tuple(_contender(fleet, count) for count in COUNTS)


def _contender(fleet: Fleet, count: int) -> Contender:
    folder = fleet.folder / f"ansible-{count}"
    _write(fleet, folder, count)
    python = f"ansible_python_interpreter={ENVIRONMENT / 'bin' / 'python'}"
    command = [ANSIBLE.path, "-i", "localhost,", "-e", python, str(folder / "play.yml")]
    name = f"`ansible-playbook`, {count} machine{'s' if count > 1 else ''}"
    return Contender(name, command, NOTHING_CHANGED, environment=_environment(fleet))


def _write(fleet: Fleet, folder: Path, count: int) -> None:
    folder.mkdir()
    (folder / "play.yml").write_text(PLAYBOOK.format(uri=fleet.host.uri()), "utf-8")
    for name in (f"vm{number:04}" for number in range(count)):
        text = fleet.host.virsh("dumpxml", "--inactive", name).stdout
        (folder / f"{name}.xml").write_text(text, "utf-8")


def _environment(fleet: Fleet) -> Mapping[str, str]:
    """Keep its folders out of the user's, and give it the faster of its ways to run modules."""
    return {
        "PATH": f"{ENVIRONMENT / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(fleet.folder),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_PIPELINING": "1",
    }
