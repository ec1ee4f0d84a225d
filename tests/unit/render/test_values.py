"""Single values and paths as people read them."""

from __future__ import annotations

import pytest

from reconciler.core.plan import Value
from reconciler.core.render.words import escape, show_path, show_value


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        pytest.param("memory.size", 4 * 1024**3, "4GiB", id="whole-gibibytes"),
        pytest.param("memory.size", 1536 * 1024**2, "1536MiB", id="never-rounded"),
        pytest.param("disks[root].size", 60 * 1024**3, "60GiB", id="disk-size"),
        pytest.param("cpus.maximum", 8, "8", id="a-count-is-no-size"),
        pytest.param("disks[size].boot", 1, "1", id="a-disk-called-size"),
        pytest.param("autostart", True, "true", id="boolean-as-in-yaml"),
        pytest.param("cdroms[cd].media", "", "(empty)", id="no-medium"),
        pytest.param("os", None, "(none)", id="absent"),
        pytest.param("graphics", "a\n b", "a b", id="one-line"),
        pytest.param("xml[/x]", "<g passwd='a b'/>", "<g passwd='(hidden)'/>", id="password"),
    ],
)
def test_value_is_shown_as_the_manifest_spells_it(path: str, value: Value, shown: str) -> None:
    assert show_value(path, value) == shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("guest_agent", "guestAgent"),
        ("disks[my_root].bus", "disks[my_root].bus"),
        ("xml[/domain/os/boot_menu]", "xml[/domain/os/boot_menu]"),
        ("memory.size", "memory.size"),
        ("disks[my_root].rotation_rate", "disks[my_root].rotationRate"),
        ("disks[my_root]/driver/@event_idx", "disks[my_root]/driver/@event_idx"),
    ],
)
def test_path_is_shown_as_the_manifest_spells_it(path: str, shown: str) -> None:
    assert show_path(path) == shown


def test_escape_keeps_letters_of_every_script() -> None:
    assert escape("Büro-日本") == "Büro-日本"


def test_escape_shows_control_and_direction_characters() -> None:
    assert escape("a\x1b[31m\u202eb") == "a\\x1b[31m\\u202eb"
