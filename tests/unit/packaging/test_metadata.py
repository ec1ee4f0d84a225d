"""What the package is called, needs and holds, by whichever setuptools builds it."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

import pytest

from reconciler import __version__

ROOT = Path(__file__).parents[3]
SPEC = ROOT / "packaging" / "rpm" / "virt-reconciler.spec"
# PyPI's name → Rocky 9's package, or what stands in the spec for it.
PACKAGES = {
    "PyYAML": "python3-pyyaml",
    "jsonschema": "python3-jsonschema",
    "lxml": "python3-lxml",
    "libvirt-python": "python3-libvirt",
    "systemd-python": "python3-systemd",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what this Python's setuptools makes of the checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("reconciler", "schemas"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    command = "from setuptools import setup; setup()"
    subprocess.run(
        [sys.executable, "-c", command, "-q", "egg_info", "build", "--build-lib", "built"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


def read_options() -> configparser.ConfigParser:
    """Return setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def dependencies() -> Dict[str, str]:
    """Return what is needed at run time: name → versions."""
    options = read_options()
    lines = options["options"]["install_requires"].split()
    lines += options["options.extras_require"]["host"].split()
    return dict(re.fullmatch(r"([\w-]+)(.*)", line).groups() for line in lines)  # type: ignore[union-attr,misc]


def test_it_has_its_name_and_version(built: Path) -> None:
    (info,) = built.glob("*.egg-info")
    assert info.name == "virt_reconciler.egg-info"
    lines = (info / "PKG-INFO").read_text(encoding="utf-8").splitlines()
    assert "Name: virt-reconciler" in lines
    assert f"Version: {__version__}" in lines
    commands = (info / "entry_points.txt").read_text().split("\n")
    assert commands[:2] == ["[console_scripts]", "virt-reconciler = reconciler.cli:main"]


def test_it_asks_for_what_it_needs(built: Path) -> None:
    (needed,) = built.glob("*.egg-info/requires.txt")
    always, *extras = needed.read_text().split("\n\n")
    more = next(lines for title, *lines in map(str.split, extras) if title == "[host]")
    names = {re.split("[<>=]", word)[0] for word in (*always.split(), *more)}
    assert names == set(dependencies())


def test_it_holds_every_module_schema_and_data(built: Path) -> None:
    def list_files(folder: Path) -> List[str]:
        found = (
            *folder.rglob("*.py"),
            *folder.glob("schemas/v1/*.json"),
            *folder.glob("core/*.json"),
        )
        return sorted(str(one.relative_to(folder)) for one in found)

    assert list_files(built / "built" / "reconciler") == list_files(ROOT / "reconciler")


def test_the_rpm_is_of_the_same_version_and_needs_the_same() -> None:
    text = SPEC.read_text(encoding="utf-8")
    assert re.findall(r"^Version: +(.*)$", text, re.MULTILINE) == [__version__]
    needed = dependencies()
    bundled = {name: needed.pop(name) for name in ("pycdlib", "watchdog")}
    required = re.findall(r"^Requires: +(python3-\w+)$", text, re.MULTILINE)
    assert sorted(required) == sorted(PACKAGES[one] for one in needed)

    assert bundled == {"pycdlib": ">=1.14", "watchdog": ">=6,<8"}
    packed = dict(re.findall(r"^%global (watchdog|pycdlib) ([\d.]+)$", text, re.MULTILINE))
    assert packed["watchdog"].startswith("6.")
    pinned = (ROOT / "packaging" / "rpm" / "bundled.txt").read_text().splitlines()
    for name, line in zip(sorted(packed), pinned):
        assert re.fullmatch(rf"{name}=={packed[name]} --hash=sha256:[0-9a-f]{{64}}", line)
    assert len(pinned) == len(packed)
