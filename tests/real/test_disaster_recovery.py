"""docs/how-to/recover-a-lost-host.md is what happens: followed line by line, on a host that loses everything.

`pytest tests/real/test_disaster_recovery.py --regenerate` writes what is seen now into the page.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.lab.host import LabHost
from tests.real.looping import libvirtd
from tests.real.test_tutorial import empty_host
from tests.real.tutorial import Following, Reader

__all__ = ["empty_host"]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "recover-a-lost-host.md"
LOSS = "## The configuration of libvirt is lost"


def lose_configuration(host: LabHost) -> None:
    """Have libvirt start without what it has stored."""
    for name in ("web01",):
        host.virsh("destroy", name, check=False)
    host.virsh("pool-destroy", "default")
    host.virsh("net-destroy", "default")
    shutil.rmtree(host.folder / "etc" / "qemu")
    shutil.rmtree(host.folder / "etc" / "storage")
    os.kill(libvirtd(host), signal.SIGKILL)
    host.wait_until_it_answers()


def test_the_page_is_what_happens(
    empty_host: LabHost, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    regenerates = request.config.getoption("--regenerate")
    page = PAGE.read_text(encoding="utf-8")
    before, heading, after = page.partition(LOSS)
    assert heading
    with Reader(empty_host, tmp_path) as reader:
        following = Following(reader, must_agree=not regenerates)
        seen = following.follow(before)
        lose_configuration(empty_host)
        seen += heading + following.follow(after)
    if regenerates:
        PAGE.write_text(seen, encoding="utf-8")
    assert "1 unchanged" in seen
