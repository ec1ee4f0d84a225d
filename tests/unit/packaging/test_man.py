"""The man pages, as man shows them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "packaging" / "man"
COMMANDS = "virt-reconciler.1"
CONFIG = "virt-reconciler-config.5"
PAGES = (COMMANDS, CONFIG)
# Requests and macros that the pages may use; any other line is text.
KNOWN = re.compile(r"\.(TH|SH|SS|PP|TP|RS 4|RE|nf|fi|nh|ad l|br|\\\")( |$)")

needs_groff = pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not here")


def read(name: str) -> str:
    """Return the source of a page."""
    return (FOLDER / name).read_text(encoding="ascii")


def show(name: str) -> str:
    """Return a page as a terminal shows it; whatever groff complains about is an error."""
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-P-c", "-rLL=100n", str(FOLDER / name)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return re.sub(".\x08", "", done.stdout)


@pytest.mark.parametrize("name", PAGES)
def test_no_line_is_a_request_by_accident(name: str) -> None:
    lines = read(name).splitlines()
    assert [line for line in lines if line.startswith((".", "'")) and not KNOWN.match(line)] == []
    assert [line for line in lines if "@" in line and line.strip("@").isupper()] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_begins_with_what_apropos_needs(name: str) -> None:
    title, _, section = name.rpartition(".")
    text = read(name)
    assert f'\n.TH "{title.upper()}" "{section}"'.replace("-", r"\-") in text
    assert re.search(r"\n\.SH NAME\n\.PP\n[a-z\\-]+ \\- \w", text)


@needs_groff
def test_every_verb_and_option_can_be_read_about() -> None:
    text = show(COMMANDS)
    assert "virt-reconciler plan [OPTION...] PATH..." in text
    assert re.search(r"\n   plan\n +virt-reconciler plan .*\n\n +Show what apply would do", text)
    assert re.search(r"\n +--detailed-exitcode\n +Exit with 2 if there are changes", text)
    assert re.search(r"\n +--config FILE\n +The daemon's configuration \(default: /etc/", text)
    assert re.search(r"EXIT STATUS\n +0 done, or nothing to do; 1 failed;", text)
    assert text.count("-v, --verbose") == 1


@needs_groff
def test_every_setting_can_be_read_about() -> None:
    text = show(CONFIG)
    assert re.search(r"\n +spec\.source\.git\.verify\n +signed accepts only commits", text)
    assert '(text, "5m" if left out)' in " ".join(text.split())
    assert "\n           kind: Configuration\n           spec:\n" in text
