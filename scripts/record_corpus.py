#!/usr/bin/env python3
"""Record the hosts of tests/corpus on real libvirt: `record_corpus.py [WORLD…]`, or all of them.

Each world gets a private host of its own (tests.lab.host; needs root, and no KVM). Its script
`prepare` makes the host what it is to be, with virsh and virt-reconciler; then the product's own
`snapshot` is kept as host.json. Afterwards `make golden` writes the plans, and `git diff` shows
what is different now. What else is in a world: tests/corpus/README.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from reconciler.adapters.libvirt.storage import LibvirtStorage  # noqa: E402
from reconciler.cli import main as run_command  # noqa: E402
from tests.lab.host import LabHost  # noqa: E402 - found through the line above
from tests.lab.surroundings import hide_machine, short_folder  # noqa: E402

CORPUS = ROOT / "tests" / "corpus"
IMAGES = "/var/lib/libvirt/images"  # where the recorded host and the manifests have their images
# What is not the same twice, and no plan may depend on.
FIXED = {
    "takenAt": "2027-01-15T08:00:00Z",
    "version": "1.0",
    "host": "kvm01",
    "uri": "qemu:///system",
    "revision": None,
}

DEFAULTS = ("", "pc", "q35")  # machine types that manifests name, or leave to the host
UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
TIME = re.compile(r'(?<=edAt": )\d+(?:\.\d+)?|(?<=edAt": ")\d+(?:\.\d+)?')
FIRST = 1_800_000_000  # seconds since the epoch
INODE = re.compile(r'(?<="identity": ")\d+:\d+(?=")')
WRAPPERS = {
    "virt-reconciler": '#!/bin/sh\nexec "$PYTHON" -m reconciler "$@"\n',
    "killed-virt-reconciler": '#!/bin/sh\nexec "$PYTHON" "$SCRIPT" --killed "$@"\n',
}


def main() -> None:
    """Record the worlds that are named, or all."""
    if sys.argv[1:2] == ["--killed"]:
        run_until_killed(sys.argv[2:])
    hide_machine()
    names = sys.argv[1:] or sorted(path.parent.name for path in CORPUS.glob("*/prepare"))
    for name in names:
        text = record(CORPUS / name)
        (CORPUS / name / "host.json").write_text(text, encoding="utf-8")
        print(f"{name}: {len(text) // 1024} KiB", flush=True)


def run_until_killed(words: List[str]) -> NoReturn:
    """Run virt-reconciler as a run that is killed when it makes its first volume.

    With KILLED=after in the environment it makes it, and is killed right after that.
    """

    def make_volume(*arguments: Any) -> NoReturn:
        if os.environ.get("KILLED") == "after":
            create_volume(*arguments)
        os._exit(9)

    create_volume = LibvirtStorage.create_volume
    LibvirtStorage.create_volume = make_volume  # type: ignore[assignment]
    sys.exit(run_command(words))


def record(world: Path) -> str:
    """Return the snapshot of the world's host."""
    folder = short_folder()
    try:
        with LabHost(folder, kvm=False) as host:
            work = folder / "work"
            shutil.copytree(world, work)
            for path in work.rglob("*.yaml"):
                text = path.read_text(encoding="utf-8").replace(IMAGES, str(host.images))
                path.write_text(text, encoding="utf-8")
            environment = _make_environment(host)
            _run(["sh", "-eu", "prepare"], work, environment)
            text = _run(["virt-reconciler", "snapshot"], work, environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text = text.replace(str(folder / "images"), IMAGES).replace(str(folder), "/run/lab")
    return tidy(text, read_manifests(world))


def read_manifests(world: Path) -> str:
    """Return all manifests of a world."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(world.glob("*/*.yaml")))


def _make_environment(host: LabHost) -> Dict[str, str]:
    programs = host.folder / "bin"
    programs.mkdir()
    for name, text in WRAPPERS.items():
        (programs / name).write_text(text, encoding="ascii")
        (programs / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "SCRIPT": str(Path(__file__).resolve()),
        "PYTHONPATH": str(ROOT),
        "HOME": str(host.folder),
        "LIBVIRT_DEFAULT_URI": host.uri(),
        "IMAGES": str(host.images),
        "LOG": str(host.folder / "log"),
    }


def _run(command: List[str], folder: Path, environment: Dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{folder}: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def tidy(text: str, given: str) -> str:
    """Leave out what is never the same, and the machine types that no domain or manifest has.

    UUIDs and inodes get numbers by their order, but for those in `given`, the manifests.
    """
    data: Dict[str, Any] = json.loads(text)
    machines = data["machines"]
    used = {name for name in machines if name in DEFAULTS or f"machine='{name}'" in text}
    used |= {machines[name]["machine"] for name in DEFAULTS}
    data.update(
        FIXED,
        machines={name: machines[name] for name in machines if name in used},
        machineTypes=[name for name in data["machineTypes"] if name in used],
    )
    result = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    for pattern, form in ((UUID, "00000000-0000-4000-8000-{:012}"), (INODE, "1:{}")):
        found = dict.fromkeys(pattern.findall(result))
        for number, word in enumerate((word for word in found if word not in given), start=1):
            result = result.replace(word, form.format(number))
    return _tidy_times(result)


def _tidy_times(text: str) -> str:
    """Put times a minute apart, in their order."""
    moments = sorted({round(float(word), 3) for word in TIME.findall(text)})
    fixed = {moment: f"{FIRST + 60 * number}.0" for number, moment in enumerate(moments)}
    text = TIME.sub(lambda found: fixed[round(float(found[0]), 3)], text)
    return re.sub(r'("createdAt": \d+)\.0', r"\1", text)


if __name__ == "__main__":
    main()
