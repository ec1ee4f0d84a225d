"""What is installed from an index is locked: exact versions, whole, with hashes, and nothing beside."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "requirements"
LOCKS = sorted(FOLDER.glob("*.txt"))
# What a lock is made for has its names in a file beside it, or in setup.cfg.
EXTRAS = {"package": (), "dev": ("host", "test", "lint")}
# Its version follows the libvirt of the machine: it has a lock of its own.
BINDING = "libvirt-python"


def read_lock(path: Path) -> List[Tuple[str, str, List[str]]]:
    """Return name, version and hashes of each entry."""
    text = path.read_text("utf-8").replace("\\\n", " ")
    entries = []
    for line in (line for line in text.splitlines() if line and not line.startswith("#")):
        found = re.match(r"([\w.-]+)==(\S+)", line)
        assert found is not None, line
        entries.append((normalise(found[1]), found[2], re.findall(r"--hash=sha256:(\w+)", line)))
    return entries


def normalise(name: str) -> str:
    """Return the name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_for(lock: str) -> List[str]:
    """Return what the lock is made for."""
    lines: List[str] = []
    if lock in EXTRAS:
        options = configparser.ConfigParser()
        options.read(ROOT / "setup.cfg", encoding="utf-8")
        lines = options["options"]["install_requires"].split()
        for extra in EXTRAS[lock]:
            lines += options["options.extras_require"][extra].split()
    names = FOLDER / f"{lock}.in"
    if names.exists():
        lines += [
            line for line in names.read_text("utf-8").splitlines() if line[:1] not in ("#", "")
        ]
    return [normalise(re.split("[<>=]", line)[0]) for line in lines]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_each_entry_is_one_version_with_its_hashes(path: Path) -> None:
    entries = read_lock(path)
    assert entries
    for name, version, hashes in entries:
        assert re.fullmatch(r"[\w.]+", version), name
        assert hashes, name
        assert all(len(one) == 64 for one in hashes), name


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_each_lock_has_what_it_is_made_for(path: Path) -> None:
    found = {name for name, _, _ in read_lock(path)}
    assert set(names_for(path.stem)) - found - {BINDING} == set(), "run: make lock"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_no_lock_names_an_index(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "://" not in text
    assert "index-url" not in text


def test_the_floor_is_the_oldest_that_is_promised() -> None:
    options = configparser.ConfigParser()
    options.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = options["options"]["install_requires"].split()
    lines += options["options.extras_require"]["host"].split()
    floors = {}
    for name, floor in re.findall(r"([\w-]+)>=([\d.]+)", "\n".join(lines)):
        floors[normalise(name)] = floor
    locked = {name: version for name, version, _ in read_lock(FOLDER / "floor.txt")}
    del floors[BINDING]
    for name, floor in floors.items():
        assert f"{locked[name]}.".startswith(f"{floor}."), name


def test_the_rpm_carries_what_the_floor_is_tested_with() -> None:
    bundled = read_lock(ROOT / "packaging" / "rpm" / "bundled.txt")
    assert [name for name, _, _ in bundled] == ["pycdlib", "watchdog"]
    locked: Dict[str, Tuple[str, List[str]]] = {
        name: (version, hashes) for name, version, hashes in read_lock(FOLDER / "floor.txt")
    }
    for name, version, hashes in bundled:
        assert version == locked[name][0]
        assert set(hashes) <= set(locked[name][1])


def commands() -> Iterator[Tuple[str, str]]:
    """Yield each call of pip in a tracked file that is run: its file and text."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "scripts", "bench", "packaging", "tests", ".ci",
         "test", "demo", "Makefile"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in listed:
        path = ROOT / name
        if not path.is_file() or path == Path(__file__):
            continue
        text = path.read_text("utf-8", "replace").replace("\\\n", " ")
        for line in text.splitlines():
            if re.search(r"\bpip\b.*\b(install|download|wheel)\b", line):
                yield name, line


def test_nothing_is_installed_beside_the_locks() -> None:
    # One takes the newest of everything on purpose, and one writes the locks.
    free = ("scripts/newest", "scripts/lock")
    found = [(name, line) for name, line in commands() if name not in free]
    assert found
    for name, line in found:
        assert "--require-hashes" in line or ("--no-index" in line and "--no-deps" in line), name
        if " install " in line:
            assert "--no-build-isolation" in line, name
