"""Pages that are written from the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


# Page → the script that writes it, and what returns it there.
PAGES = {
    "docs/manifest.md": ("make_manifest_docs", "render('manifest')"),
    "docs/configuration.md": ("make_manifest_docs", "render('configuration')"),
    "docs/commands.md": ("make_commands_docs", "render()"),
    "docs/effects.md": ("make_effects_docs", "render()"),
    "docs/journal.md": ("make_journal_docs", "render()"),
    "docs/monitoring.md": ("make_monitoring_docs", "render()"),
    "packaging/prometheus/virt-reconciler.rules.yml": ("make_monitoring_docs", "render_rules()"),
    "packaging/virt-reconciler.catalog": ("make_journal_docs", "render_catalog()"),
    "packaging/completion/virt-reconciler.bash": ("make_completion", "render()"),
    "packaging/man/virt-reconciler.1": ("make_man", "render('virt-reconciler.1')"),
    "packaging/man/virt-reconciler-config.5": ("make_man", "render('virt-reconciler-config.5')"),
}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_up_to_date(page: str) -> None:
    script, call = PAGES[page]
    code = f"import {script} as script; print(script.{call}, end='')"
    run = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code],
        cwd=ROOT / "scripts",
        env={"PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    assert run.stdout == (ROOT / page).read_text(encoding="utf-8"), "run `make docs`"
