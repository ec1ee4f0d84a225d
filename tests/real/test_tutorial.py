"""docs/tutorial.md is what happens: followed line by line on an empty host.

`pytest tests/real/test_tutorial.py --regenerate` writes what is seen now into the page.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.host import LabHost
from tests.real.tutorial import Following, Reader

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
POOL = "/var/lib/libvirt/images"  # where a reader has it; on a private host that is its own


@pytest.fixture
def empty_host(own_host: LabHost) -> LabHost:
    """Return a host with the pool and the network that a new one has, and nothing in them."""
    own_host.virsh("pool-destroy", "default")
    own_host.virsh("pool-undefine", "default")
    own_host.virsh("pool-define-as", "default", "dir", "--target", POOL)
    own_host.virsh("pool-build", "default")
    own_host.virsh("pool-start", "default")
    return own_host


def test_the_tutorial_is_what_happens(
    empty_host: LabHost, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    regenerates = request.config.getoption("--regenerate")
    page = PAGE.read_text(encoding="utf-8")
    with Reader(empty_host, tmp_path) as reader:
        seen = Following(reader, must_agree=not regenerates).follow(page)
    if regenerates:
        PAGE.write_text(seen, encoding="utf-8")
    assert "$ virt-reconciler apply" in seen
