"""Pages that are written from the code say what the code says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest

ROOT = Path(__file__).parents[2]
MESSAGE = re.compile(r"^- `.+`\n", re.MULTILINE)


# Page → the script that writes it, and what returns it there.
PAGES = {
    "docs/manifest.md": ("make_manifest_docs", "render('manifest')"),
    "docs/configuration.md": ("make_manifest_docs", "render('configuration')"),
    "docs/commands.md": ("make_commands_docs", "render()"),
    "docs/effects.md": ("make_effects_docs", "render()"),
    "docs/windows-drivers.md": ("make_windows_docs", "render()"),
    "docs/journal.md": ("make_journal_docs", "render()"),
    "docs/plan.svg": ("make_plan_svg", "render('plan.svg')"),
    "docs/plan-narrow.svg": ("make_plan_svg", "render('plan-narrow.svg')"),
    "docs/troubleshooting.md": ("make_troubleshooting", "render()"),
    "docs/monitoring.md": ("make_monitoring_docs", "render()"),
    "packaging/prometheus/virt-reconciler.rules.yml": ("make_monitoring_docs", "render_rules()"),
    "packaging/virt-reconciler.catalog": ("make_journal_docs", "render_catalog()"),
    "packaging/completion/virt-reconciler.bash": ("make_completion", "render()"),
    "packaging/man/virt-reconciler.1": ("make_man", "render('virt-reconciler.1')"),
    "packaging/man/virt-reconciler-config.5": ("make_man", "render('virt-reconciler-config.5')"),
}


def run_script(code: str) -> str:
    """Return what Python code prints in the folder of the scripts."""
    run = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        cwd=ROOT / "scripts",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    return run.stdout


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_up_to_date(page: str) -> None:
    script, call = PAGES[page]
    printed = run_script(f"import {script} as script; print(script.{call}, end='')")
    assert printed == (ROOT / page).read_text(encoding="utf-8"), "run `make docs`"


def test_each_quotation_is_what_the_file_or_the_command_says() -> None:
    printed = run_script("import json, make_quotes; print(json.dumps(make_quotes.render_all()))")
    pages: Dict[str, str] = json.loads(printed)
    assert "docs/plan.md" in pages
    for page, text in pages.items():
        assert text == (ROOT / page).read_text(encoding="utf-8"), f"{page}: run `make docs`"


def test_each_message_has_an_entry_in_troubleshooting() -> None:
    printed = run_script(
        "import make_troubleshooting as script; print('\\n'.join(script.find_strays()), end='')"
    )
    assert printed == "", "add their words to an entry of scripts/troubleshooting.md.in"


def test_troubleshooting_has_the_messages_of_errors_plans_and_the_journal() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    shown = MESSAGE.findall(page)
    assert len(shown) > 600
    for words in ("a disk is never shrunk", "cannot reach libvirt", "the manifest changed a field"):
        assert any(words in message for message in shown)
