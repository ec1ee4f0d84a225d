"""What is in the package, and what it makes of an empty root."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Tuple

import pytest

from reconciler import __version__
from tests.lab.packages import build_rpm

CHECKOUT = Path(__file__).parents[2]
FOLDER = "/usr/share/virt-reconciler"
DOCS = "/usr/share/doc/virt-reconciler"
USER = "virt-reconciler"
NUMBER = 4321  # the user's, in the empty root


class Packed(NamedTuple):
    """What the package says of one file."""

    mode: str
    owner: str
    flags: str


@pytest.fixture(scope="module")
def package() -> Path:
    """Return the package."""
    return build_rpm()


def query(package: Path, *words: str) -> str:
    """Ask rpm about a package that is not installed."""
    with tempfile.TemporaryDirectory() as home:  # rpm makes a database there
        return subprocess.run(
            ["rpm", "-q", "-p", *words, str(package)],
            env={**os.environ, "HOME": home}, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def files(package: Path) -> Dict[str, Packed]:
    """Return path → what the package says of it."""
    form = "[%{FILENAMES}\t%{FILEMODES:perms}\t%{FILEUSERNAME}:%{FILEGROUPNAME}\t%{FILEFLAGS:fflags}\n]"
    rows = (line.split("\t") for line in query(package, "--qf", form).splitlines())
    return {path: Packed(*rest) for path, *rest in rows}


# Everything outside of the folders for modules, documents and licences.
EXPECTED = {
    "/etc/virt-reconciler": ("drwxr-xr-x", "root:root", ""),
    "/etc/virt-reconciler/config.yaml": ("-rw-r--r--", "root:root", "cn"),
    "/etc/virt-reconciler/manifests": ("drwxr-s---", f"root:{USER}", ""),
    "/usr/bin/virt-reconciler": ("-rwxr-xr-x", "root:root", ""),
    "/usr/lib/systemd/catalog/virt-reconciler.catalog": ("-rw-r--r--", "root:root", ""),
    "/usr/lib/systemd/system/virt-reconciler-disable@.service": ("-rw-r--r--", "root:root", ""),
    "/usr/lib/systemd/system/virt-reconciler-enable@.service": ("-rw-r--r--", "root:root", ""),
    "/usr/lib/systemd/system/virt-reconciler-mask@.service": ("-rw-r--r--", "root:root", ""),
    "/usr/lib/systemd/system/virt-reconciler.service": ("-rw-r--r--", "root:root", ""),
    "/usr/lib/sysusers.d/virt-reconciler.conf": ("-rw-r--r--", "root:root", ""),
    "/usr/lib/tmpfiles.d/virt-reconciler.conf": ("-rw-r--r--", "root:root", ""),
    "/usr/share/bash-completion/completions/virt-reconciler": ("-rw-r--r--", "root:root", ""),
    "/usr/share/man/man1/virt-reconciler.1.gz": ("-rw-r--r--", "root:root", "d"),
    "/usr/share/man/man5/virt-reconciler-config.5.gz": ("-rw-r--r--", "root:root", "d"),
    "/usr/share/polkit-1/rules.d/virt-reconciler.rules": ("-rw-r--r--", "root:root", ""),
    "/var/lib/virt-reconciler": ("drwxr-x---", f"{USER}:{USER}", ""),
}


def test_the_package_has_what_a_host_needs(files: Dict[str, Packed]) -> None:
    inside = (FOLDER, DOCS, "/usr/share/licenses/virt-reconciler")
    found = {path: file for path, file in files.items() if not path.startswith(inside)}
    assert found == EXPECTED


def test_all_else_is_roots_and_nobody_elses_to_write(files: Dict[str, Packed]) -> None:
    rest = {path: file for path, file in files.items() if path not in EXPECTED}
    for path, (mode, owner, _) in rest.items():
        assert owner == "root:root", path
        assert mode in ("drwxr-xr-x", "-rw-r--r--", "lrwxrwxrwx"), f"{path}: {mode}"


def test_every_module_and_schema_is_there_with_rocky_9s_bytecode(files: Dict[str, Packed]) -> None:
    ours = [
        str(one.relative_to(CHECKOUT))
        for pattern in ("reconciler/**/*.py", "reconciler/core/*.json", "schemas/v1/*.json")
        for one in CHECKOUT.glob(pattern)
    ]
    modules = {path for path in files if path.startswith(FOLDER)}
    assert {f"{FOLDER}/{module}" for module in ours} <= modules
    assert {f"{FOLDER}/watchdog/observers/inotify.py", f"{FOLDER}/pycdlib/pycdlib.py"} <= modules
    assert files[f"{FOLDER}/reconciler/schemas"].mode == "lrwxrwxrwx"

    sources = {module for module in modules if module.endswith(".py")}
    compiled = {module for module in modules if module.endswith(".pyc")}
    assert compiled == {
        re.sub(r"([^/]+)\.py$", r"__pycache__/\1.cpython-39.pyc", source) for source in sources
    }
    # Nothing for one kind of machine, and nothing of the checkout's besides.
    assert {Path(module).suffix for module in modules} <= {"", ".py", ".pyc", ".json", ".typed"}


def test_people_find_documents_and_licences(files: Dict[str, Packed]) -> None:
    for name in ("README.md", "CHANGELOG.md", "docs/manifest.md", "docs/install.md"):
        assert files[f"{DOCS}/{name}"].flags == "d"
    assert f"{DOCS}/manifests/examples/web01.yaml" in files
    assert {f"{DOCS}/deploy-key.conf", f"{DOCS}/prepare.conf", f"{DOCS}/images.conf"} <= set(files)
    licences = {os.path.basename(path) for path, file in files.items() if file.flags == "l"}
    assert licences == {"LICENSE", "LICENSE.watchdog", "AUTHORS.watchdog", "LICENSE.pycdlib"}


def test_it_needs_packages_of_rocky_9_and_says_what_it_bundles(package: Path) -> None:
    needed = {line for line in query(package, "--requires").splitlines() if "(" not in line}
    assert needed == {
        "/bin/sh",
        "/usr/bin/python3",
        "polkit",
        "python3 >= 3.9",
        "python3-jsonschema",
        "python3-libvirt",
        "python3-lxml",
        "python3-pyyaml",
        "python3-systemd",
        "systemd",
    }
    recommended = ["git-core", "gnupg2", "iproute", "openssh-clients"]
    assert query(package, "--recommends").split() == recommended
    provided = query(package, "--provides").splitlines()
    assert "bundled(python3dist(watchdog)) = 6.0.0" in provided
    assert "bundled(python3dist(pycdlib)) = 1.14.0" in provided


def test_scriptlets_have_no_macro_and_no_path_of_the_machine_that_built_it(package: Path) -> None:
    text = query(package, "--scripts", "--triggers", "--filetriggers")
    kinds = re.findall(r"^(\w+) scriptlet \(using /bin/sh\):$", text, re.MULTILINE)
    assert kinds == ["preinstall", "postinstall", "preuninstall", "postuninstall"]
    assert "%" not in text
    assert str(CHECKOUT) not in text
    assert "/tmp" not in text


def test_it_can_be_read_by_rocky_9_and_is_for_any_machine(package: Path) -> None:
    form = "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH} %{PAYLOADCOMPRESSOR} %{BUILDHOST} %{LICENSE}"
    name = f"virt-reconciler-{__version__}-1.el9.noarch"
    licences = "Apache-2.0 AND LGPL-2.1-only"
    assert query(package, "--qf", form) == f"{name} zstd localhost {licences}"
    needed = re.findall(r"rpmlib\((\w+)\)", query(package, "--requires"))
    known = {"CompressedFileNames", "FileDigests", "PayloadFilesHavePrefix", "PayloadIsZstd"}
    assert set(needed) <= known


def test_it_is_the_same_each_time_it_is_built(package: Path) -> None:
    form = "%{PAYLOADDIGEST} %{BUILDTIME}\n[%{FILENAMES} %{FILEDIGESTS} %{FILEMTIMES}\n]"
    first, second = (query(one, "--qf", form).split("\n") for one in (package, build_rpm(2)))
    assert [one for one in zip(first, second) if one[0] != one[1]] == []


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with nothing but the user's name in it."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(f"{USER}:x:{NUMBER}:{NUMBER}::/:/bin/false\n")
    (tmp_path / "etc/group").write_text(f"{USER}:x:{NUMBER}:\n")
    return tmp_path


def rpm(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run rpm on another root."""
    command = ["rpm", "--root", str(root), "--dbpath", "/var/lib/rpm"]
    command += ["--undefine=__transaction_unshare", *words]  # it warns that a root has no mounts
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_it_installs_into_a_root_of_its_own_and_leaves_it_empty_again(
    package: Path, root: Path
) -> None:
    done = rpm(root, "-i", "--nodeps", "--noscripts", str(package))
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    done = rpm(root, "-V", "--nodeps", "virt-reconciler")
    assert (done.returncode, done.stdout) == (0, "")
    assert look(root / "var/lib/virt-reconciler") == (NUMBER, NUMBER, 0o750)
    assert look(root / "etc/virt-reconciler/manifests") == (0, NUMBER, 0o2750)
    assert look(root / "usr/bin/virt-reconciler") == (0, 0, 0o755)

    done = rpm(root, "-e", "--nodeps", "--noscripts", "virt-reconciler")
    assert done.returncode == 0, done.stderr
    assert list_rest(root) == []


def look(path: Path) -> Tuple[int, int, int]:
    """Return owner, group and mode."""
    found = path.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def list_rest(root: Path) -> List[str]:
    """Return what is left of the package."""
    return sorted(
        str(one) for one in root.rglob("*virt-reconciler*") if "/var/lib/rpm/" not in str(one)
    )
