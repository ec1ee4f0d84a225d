"""The spec and its scriptlets, as rpm reads them with the macros that stand in for Rocky 9's."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict

import pytest

PACKAGING = Path(__file__).parents[3] / "packaging"
SPEC = PACKAGING / "rpm" / "virt-reconciler.spec"
# rpmspec leaves the line `%build` out.
SECTIONS = ("prep", "install", "check", "pre", "post", "preun", "postun", "files")

pytestmark = pytest.mark.skipif(shutil.which("rpmspec") is None, reason="rpm is not here")


@pytest.fixture(scope="module")
def sections(tmp_path_factory: pytest.TempPathFactory) -> Dict[str, str]:
    """Return section → its text, as rpmbuild would take it."""
    sources = tmp_path_factory.mktemp("sources")
    shutil.copy(PACKAGING / "sysusers.conf", sources / "virt-reconciler.sysusers")
    words = [
        "--load",
        str(PACKAGING / "rpm" / "macros.el9shim"),
        "--define",
        f"_sourcedir {sources}",
    ]
    done = subprocess.run(
        ["rpmspec", *words, "-P", str(SPEC)], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    parts = re.split(rf"^%({'|'.join(SECTIONS)})$", done.stdout, flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


def test_every_section_is_there_once(sections: Dict[str, str]) -> None:
    assert set(sections) == {"", *SECTIONS}


@pytest.mark.parametrize("name", ["pre", "post", "preun", "postun"])
def test_a_scriptlet_is_shell_and_no_macro_is_left_in_it(
    sections: Dict[str, str], name: str
) -> None:
    text = sections[name]
    assert "virt-reconciler" in text
    assert "%" not in text
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_no_macro_is_unknown(sections: Dict[str, str]) -> None:
    for name, text in sections.items():
        assert "%{" not in text, name
    known = r"%(dir|license|doc|attr\([^)]*\)|config\(noreplace\)|description)\b|%attr\([^)]*\)|%config\(noreplace\)"
    left = re.sub(known, "", sections["files"] + sections[""])
    assert "%" not in left


def test_no_scriptlet_touches_what_is_not_the_packages(sections: Dict[str, str]) -> None:
    scriptlets = " ".join(sections[one] for one in ("pre", "post", "preun", "postun"))
    for word in ("rm ", "userdel", "virsh", "libvirt"):
        assert word not in scriptlets


def test_bundled_is_declared(sections: Dict[str, str]) -> None:
    declared = r"^Provides: +bundled\(python3dist\((\w+)\)\) = ([\d.]+)$"
    found = re.findall(declared, sections[""], re.MULTILINE)
    assert sorted(found) == [("pycdlib", "1.14.0"), ("watchdog", "6.0.0")]


def test_folders_are_the_same_for_rpm_and_tmpfiles(sections: Dict[str, str]) -> None:
    found = re.findall(
        r"^%dir (?:%attr\((\d+), (\S+), (\S+)\) )?(\S+)$", sections["files"], re.MULTILINE
    )
    packaged = {
        path: (mode or "0755", user or "root", group or "root") for mode, user, group, path in found
    }
    lines = (PACKAGING / "tmpfiles.conf").read_text().splitlines()
    declared = (line.split() for line in lines if not line.startswith("#"))
    assert packaged == {path: (mode, user, group) for _, path, mode, user, group in declared}


def test_the_command_starts_in_the_folder_of_the_package(sections: Dict[str, str]) -> None:
    launcher = (PACKAGING / "launcher").read_text(encoding="utf-8")
    assert launcher.startswith("#!/usr/bin/python3 -s\n")
    (folder,) = re.findall(r'^sys\.path\[0\] = "(.*)"', launcher, re.MULTILINE)
    assert f"{folder}/" in sections["files"].split()
