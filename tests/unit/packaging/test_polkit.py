"""The units that polkit's rule names, against the table of libvirt's daemons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict

import pytest

from reconciler.core.libvirt_daemons import ALL_UNITS

RULES = Path(__file__).parents[3] / "packaging" / "polkit" / "virt-reconciler.rules"
KEEPERS = ("virtlogd", "virtlockd")  # guests need them as long as they run


def evaluate(expression: str, names: Dict[str, str]) -> str:
    """Return the value of strings and names with `+` between them."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\w+', expression)
    return "".join(
        word[1:-1].replace("\\\\", "\\") if word.startswith('"') else names[word] for word in words
    )


def read_patterns() -> Dict[str, str]:
    """Return verb → the pattern of units that may be asked for by it."""
    text = RULES.read_text(encoding="utf-8")
    names: Dict[str, str] = {}
    for name, expression in re.findall(r'var (\w+) = (".*?");', text):
        names[name] = evaluate(expression, names)
    found = re.findall(r'"([\w-]+)": new RegExp\((.*?)\)(?:,|\n    \})', text, re.DOTALL)
    return {verb: evaluate(expression, names) for verb, expression in found}


PATTERNS = read_patterns()


def may(verb: str, unit: str) -> bool:
    """Whether the daemon's user may do this."""
    return re.search(PATTERNS[verb], unit) is not None


def test_no_other_verb_is_allowed() -> None:
    assert set(PATTERNS) == {"start", "stop", "reset-failed"}


@pytest.mark.parametrize("unit", ALL_UNITS)
def test_each_unit_of_libvirts_can_be_put_right(unit: str) -> None:
    assert may("start", unit)
    assert may("reset-failed", unit)
    assert may("start", f"virt-reconciler-enable@{unit}.service")
    is_keeper = unit.startswith(KEEPERS)
    assert may("stop", unit) is not is_keeper
    for verb in ("disable", "mask"):
        assert may("start", f"virt-reconciler-{verb}@{unit}.service") is not is_keeper


@pytest.mark.parametrize(
    "unit",
    [
        "sshd.service",
        "myvirtqemud.service",
        "virtqemud.service.service",
        "virtqemud.socket\nsshd.service",
        "virtqemudXsocket",
        "libvirt-guests.service",
        "virt-reconciler.service",
        "virt-reconciler-enable@sshd.service.service",
        "virt-reconciler-enable@virtqemud.socket",
    ],
)
def test_no_other_unit_is_touched(unit: str) -> None:
    assert not any(may(verb, unit) for verb in PATTERNS)


def test_others_are_left_to_other_rules() -> None:
    text = RULES.read_text(encoding="utf-8")
    assert 'if (subject.user != "virt-reconciler") {' in text
    assert text.count("polkit.Result.YES") == 2
    assert text.count("{") == text.count("}")
    assert text.count("(") == text.count(")")
    # Names at the top would be seen by the rules of other packages, which have one namespace.
    assert not re.search("^(var|function) ", text, re.MULTILINE)
    assert "org.freedesktop.systemd1.manage-unit-files" not in text
