"""Images whose checksum a signed list has: what is read when, and what a list that moves on does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

import pytest

from reconciler.core.checksums import find_listed
from reconciler.core.history import LastKnown
from reconciler.core.key import Key
from reconciler.core.manifest import ChecksumList, Desired, TemplateManifest
from reconciler.core.manifest_files import InForce
from reconciler.core.plan import Action, ActionKind, CreateVolume, PlanOptions
from reconciler.core.transfers import FetchImage, NoDownloads
from reconciler.errors import MissingError
from reconciler.kinds.api import PassTask, Surroundings
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.template.planning import find_unnamed
from reconciler.kinds.template.row import ROW, build_template
from tests.execution import execute
from tests.unit.daemons.test_host_plan import Silent
from tests.unit.fake_clock import FakeClock
from tests.unit.memory_host import MemoryHost
from tests.unit.planning.test_image_addresses import PLACE, URL, machine, pool_of, with_pool

LIST = "https://example.org/SHA256SUMS"
KEYS = "/etc/keys/example.gpg"
OLD, NEW = "a" * 64, "b" * 64
OLD_IMAGE, NEW_IMAGE = "base-aaaaaaaaaaaa.qcow2", "base-bbbbbbbbbbbb.qcow2"


@dataclass
class Lists(NoDownloads):
    """Has signed lists, and counts how often they are read."""

    content: Dict[str, bytes] = field(default_factory=dict)
    read: List[Tuple[str, str, Optional[str]]] = field(default_factory=list)

    def measure(self, url: str) -> Optional[int]:
        """Say nothing."""

    def read_signed(self, url: str, keyring: str, signature: Optional[str] = None) -> bytes:
        """Return a list."""
        self.read.append((url, keyring, signature))
        if url not in self.content:
            raise MissingError(f"{url}: the server answers 404")
        return self.content[url]


def listing(checksum: str) -> Dict[str, bytes]:
    """Return the publisher's list with that checksum of the image."""
    return {LIST: f"{'c' * 64}  other.qcow2\n{checksum} *base.qcow2\n".encode()}


def template() -> TemplateManifest:
    """Return a template with a list."""
    image = {"url": URL, "checksums": {"url": LIST, "signedBy": KEYS}}
    return build_template({"metadata": {"name": "base"}, "spec": {"image": image}}, PLACE)


def host_with(*images: str, checksum: Optional[str] = OLD) -> Tuple[MemoryHost, Lists]:
    """Return a host with these images, and the lists that it can read."""
    host, lists = with_pool(pool_of(*images)), Lists(listing(checksum) if checksum else {})
    host.downloads = lists
    return host, lists


def plan(host: MemoryHost, *names: str, unattended: bool = False) -> Dict[str, Action]:
    """Plan machines that are cloned from the template."""
    desired = Desired.of(template(), *map(machine, names))
    found = observe(host, desired).plan(PlanOptions(unattended=unattended))
    return {action.name: action for action in found.actions}


def apply(host: MemoryHost, *names: str) -> None:
    """Plan and carry out."""
    desired = Desired.of(template(), *map(machine, names))
    found = observe(host, desired).plan(PlanOptions())
    for outcome in execute(host, desired, found, Silent(), FakeClock()):
        assert outcome.error is None, outcome.error


def test_manifest_names_a_list() -> None:
    address = template().address
    assert address is not None
    assert address.checksums == ChecksumList(LIST, KEYS)
    assert (address.sha256, template().volume) == ("", None)


@pytest.mark.parametrize("unattended", [False, True])
def test_image_is_fetched_with_the_checksum_of_the_list(unattended: bool) -> None:
    host, lists = host_with()
    actions = plan(host, "a", unattended=unattended)
    [step] = actions["base"].steps
    assert step == FetchImage(URL, OLD, "default", OLD_IMAGE, "qcow2", LIST)
    if unattended:
        assert OLD_IMAGE in actions["a"].reason
    else:
        [made] = [step for step in actions["a"].steps if isinstance(step, CreateVolume)]
        assert made.origin == f"/images/{OLD_IMAGE}"
    assert lists.read == [(LIST, KEYS, None)]


def test_image_of_the_list_that_is_there_is_not_fetched() -> None:
    host, _ = host_with(OLD_IMAGE)
    assert plan(host, "a")["base"].action is ActionKind.NONE


def test_list_that_moved_on_makes_a_new_image_beside_the_old_one() -> None:
    host, _ = host_with(OLD_IMAGE, checksum=NEW)
    action = plan(host, "a")["base"]
    [step] = [step for step in action.steps if isinstance(step, FetchImage)]
    assert step.name == NEW_IMAGE
    [note] = action.notes
    assert note.startswith(f"{LIST} names another image than default/{OLD_IMAGE}")


def test_machines_that_exist_need_no_list() -> None:
    host, lists = host_with(OLD_IMAGE)
    apply(host, "a")
    lists.read.clear()
    lists.content = {}
    assert {action.action for action in plan(host, "a").values()} == {ActionKind.NONE}
    assert lists.read == []
    lists.content = listing(NEW)
    assert {action.action for action in plan(host, "a").values()} == {ActionKind.NONE}


@pytest.mark.parametrize("unattended", [False, True])
def test_list_that_cannot_be_read_holds_only_what_is_new(unattended: bool) -> None:
    host, lists = host_with(OLD_IMAGE)
    apply(host, "a")
    lists.content = {}
    actions = plan(host, "a", "b", unattended=unattended)
    assert actions["a"].action is ActionKind.NONE
    assert actions["b"].action is ActionKind.FAILED
    assert actions["b"].transient
    assert f"{LIST}: the server answers 404" in actions["b"].reason
    assert actions["base"].action is ActionKind.NONE


class Forgetful:
    """Implements `PassMemory`: remembers nothing."""

    def keep(self, last: Optional[LastKnown], seen: object) -> None:
        """Forget."""

    def find_last(self, key: Key) -> Optional[LastKnown]:
        """Know nothing."""


def look(host: MemoryHost, *names: str) -> Action:
    """Look at the template as the daemon does, and plan it."""
    in_force = InForce(objects=Desired.of(template(), *map(machine, names)).objects)
    around = Surroundings(host, Forgetful(), lambda: 0.0)
    scene = ROW.look(around, PassTask(template(), in_force))
    return scene.plan(PlanOptions(unattended=True))


def test_daemon_reads_the_list_only_for_a_machine_that_is_to_be_made() -> None:
    host, lists = host_with(OLD_IMAGE, checksum=NEW)
    assert look(host).action is ActionKind.NONE
    assert lists.read == []
    [step] = [step for step in look(host, "a").steps if isinstance(step, FetchImage)]
    assert (step.name, step.sha256) == (NEW_IMAGE, NEW)
    lists.content = {}
    assert look(host, "a").action is ActionKind.NONE  # the machine says what is wrong


def test_images_that_the_list_does_not_name_any_more_are_spare() -> None:
    host, lists = host_with(OLD_IMAGE, NEW_IMAGE, checksum=NEW)

    def find() -> List[str]:
        found = observe(host, Desired.of(template())).make(
            lambda world: find_unnamed(Desired.of(template()), world)
        )
        return [volume.name for volume in found]

    assert find() == [OLD_IMAGE]
    lists.content = {}
    assert find() == []


@pytest.mark.parametrize(
    "line",
    [
        f"{OLD}  base.qcow2",
        f"{OLD.upper()} *base.qcow2",
        f"{OLD}  ./base.qcow2",
        f"{OLD}  x/base.qcow2",
        f"SHA256 (base.qcow2) = {OLD}",
        f"SHA2-256 (x/base.qcow2) = {OLD}",
    ],
)
def test_checksum_is_found_in_each_format(line: str) -> None:
    content = f"# base.qcow2: 123 bytes\n{NEW}  y/base.qcow2\n{NEW}  a-base.qcow2\n{line}\n{line}\n"
    assert find_listed(content.encode(), LIST, "https://example.org/x/base.qcow2?v=1") == OLD


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "does not list base.qcow2"),
        (f"{OLD}  other.qcow2\n", "does not list base.qcow2"),
        (f"{'a' * 128}  base.qcow2\n", "has no SHA-256 for base.qcow2"),
        (f"SHA512 (base.qcow2) = {'a' * 128}\n", "has no SHA-256 for base.qcow2"),
        (f"SHA3-256 (base.qcow2) = {OLD}\n", "has no SHA-256 for base.qcow2"),
        (f"{OLD}  base.qcow2\n{NEW}  base.qcow2\n", "has two checksums for base.qcow2"),
    ],
)
def test_list_without_one_checksum_is_refused(content: str, words: str) -> None:
    with pytest.raises(MissingError, match=words):
        find_listed(content.encode(), LIST, URL)
