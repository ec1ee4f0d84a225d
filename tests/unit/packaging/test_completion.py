"""What bash offers when a person presses the tab key."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import List

import pytest

from reconciler.cli.arguments import build_parser

FILE = Path(__file__).parents[3] / "packaging" / "completion" / "virt-reconciler.bash"
# Names of domains as virsh prints them, the last after an empty line; or those of another host.
VIRSH = """\
#!/bin/sh
case "$*" in
    *"-c test:///other"*) echo elsewhere ;;
    *) printf 'web01\\nweb02\\nvm 3\\n\\n' ;;
esac
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")


def complete(folder: Path, line: str) -> List[str]:
    """Return what is offered at the end of the line; words are split as bash splits them."""
    words = shlex.split(line.replace("=", " = ").replace(":", " : "))
    if line.endswith((" ", "=")) and words[-1] != "=":
        words.append("")
    script = """
        source "$1" && shift
        COMP_LINE=$1 && shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _virt_reconciler
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    virsh = folder / "virsh"
    virsh.write_text(VIRSH, encoding="ascii")
    virsh.chmod(0o755)
    done = subprocess.run(
        ["bash", "-u", "-c", script, "bash", str(FILE), line, *words],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": f"{folder}:/usr/bin:/bin"},
    )
    assert done.stderr == ""
    return [one for one in done.stdout.splitlines() if one]


CASES = [
    pytest.param("virt-reconciler pl", ["plan"], id="a-verb"),
    pytest.param("virt-reconciler -v pl", ["plan"], id="a-verb-after-an-option"),
    pytest.param("virt-reconciler -c qemu:///system pl", ["plan"], id="a-verb-after-a-uri"),
    pytest.param("virt-reconciler --config plan st", ["status"], id="a-value-is-no-verb"),
    pytest.param("virt-reconciler plan --det", ["--detailed-exitcode"], id="an-option"),
    pytest.param("virt-reconciler validate --det", [], id="an-option-of-another-verb"),
    pytest.param("virt-reconciler plan --format j", ["json"], id="a-choice"),
    pytest.param("virt-reconciler plan --format=", ["html", "json", "markdown", "text"], id="a-choice-after-="),
    pytest.param("virt-reconciler plan --format=t", ["text"], id="a-choice-begun-after-="),
    pytest.param("virt-reconciler plan --format=json m", ["manifests"], id="a-path-after-a-choice"),
    pytest.param("virt-reconciler plan ", ["manifests", "virsh"], id="paths"),
    pytest.param("virt-reconciler status web", ["web01", "web02"], id="names"),
    pytest.param("virt-reconciler export web01 v", ["vm\\ 3"], id="a-name-with-a-space"),
    pytest.param("virt-reconciler -c test:///other status ", ["elsewhere"], id="names-of-a-host"),
    pytest.param("virt-reconciler plan --adopt-only web01 m", ["manifests"], id="one-value"),
    pytest.param("virt-reconciler adopt web01 -f a m", ["manifests"], id="several-values"),
    pytest.param("virt-reconciler adopt -f a -v w", ["web01", "web02"], id="no-more-values"),
    pytest.param("virt-reconciler --config m", ["manifests"], id="a-file"),
    pytest.param("virt-reconciler -c ", [], id="what-cannot-be-guessed"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "offered"), CASES)
def test_what_fits_is_offered(line: str, offered: List[str], tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    assert sorted(complete(tmp_path, line)) == sorted(offered)


def test_every_verb_and_kind_is_offered(tmp_path: Path) -> None:
    usage = build_parser().format_help()
    verbs = complete(tmp_path, "virt-reconciler ")
    assert {"validate", "plan", "apply", "status", "schema"} <= set(verbs)
    assert [verb for verb in verbs if f"\n    {verb} " not in usage] == []
    kinds = complete(tmp_path, "virt-reconciler schema ")
    assert {"VirtualMachine", "Template", "Configuration"} <= set(kinds)
