"""What the driver does to domains, as far as libvirt's test driver can do it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import Connections
from reconciler.adapters.libvirt.domains import LibvirtDomains
from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.core.names import MARK_NAMESPACE
from reconciler.core.world import GuestState
from reconciler.errors import NotFoundError, ReconcilerError, RefusedError, TerminalError

NEW = """<domain type='test'><name>new</name><memory>65536</memory><vcpu>1</vcpu>
<os><type>hvm</type></os></domain>"""


def test_a_definition_is_stored_and_taken_back(host: LibvirtHost) -> None:
    host.domains.define(NEW)
    assert host.domains.read_domain("new").state is GuestState.OFF
    host.domains.undefine_new("new")
    with pytest.raises(NotFoundError):
        host.domains.read_domain("new")


def test_only_a_domain_that_is_off_is_undefined(host: LibvirtHost) -> None:
    with pytest.raises(RefusedError, match="domain on: it runs"):
        host.domains.undefine("on")
    host.domains.undefine("off")
    assert set(host.domains.list_domains()) == {"on"}
    with pytest.raises(NotFoundError, match="domain off: "):
        host.domains.undefine("off")


def test_snapshots_are_listed_by_name(connections: Connections) -> None:
    domains = LibvirtDomains(connections)
    assert domains.list_snapshots("off") == ()
    off: Any = connections.get().lookupByName("off")
    off.snapshotCreateXML("<domainsnapshot><name>s1</name></domainsnapshot>")
    assert domains.list_snapshots("off") == ("snapshot s1",)


@pytest.mark.parametrize(
    ("xml", "what"),
    [
        (NEW.replace("<vcpu>1</vcpu>", "<vcpu>many</vcpu>"), "domain new: storing"),
        (NEW.replace("<vcpu>1</vcpu>", "<wheels>4</wheels>"), "domain new: storing"),
        ("<domain", "not well-formed"),
    ],
    ids=["a wrong value", "an unknown element", "not XML"],
)
def test_what_libvirt_would_not_have_is_refused_and_nothing_is_stored(
    host: LibvirtHost, xml: str, what: str
) -> None:
    with pytest.raises(TerminalError, match=what):
        host.domains.define(xml)
    assert set(host.domains.list_domains()) == {"on", "off"}


def test_a_guest_is_started_shut_down_and_powered_off(host: LibvirtHost) -> None:
    host.domains.start("off")
    assert host.domains.read_domain("off").live_xml is not None
    host.domains.shut_down("off")
    host.domains.shut_down("off")  # once more, as it went off between a look and the asking
    assert host.domains.read_domain("off").state is GuestState.OFF
    host.domains.power_off("on")
    host.domains.power_off("on")
    assert host.domains.read_domain("on").state is GuestState.OFF


def test_a_guest_that_goes_off_is_not_asked_again_but_its_power_is_cut() -> None:
    """Its emulator still ends: libvirt refuses to ask it, and calls it active."""

    def refuse() -> None:
        raise binding.Error("Requested operation is not valid: domain is not running")

    state = (4, 1)  # VIR_DOMAIN_SHUTDOWN
    domain = SimpleNamespace(
        shutdown=refuse, destroy=refuse, isActive=lambda: 1, state=lambda: state
    )
    connections: Any = SimpleNamespace(get=lambda: SimpleNamespace(lookupByName=lambda _: domain))
    domains = LibvirtDomains(connections)
    domains.shut_down("vm")
    with pytest.raises(ReconcilerError, match="domain vm: cutting its power"):
        domains.power_off("vm")


def test_our_mark_is_written_and_nobody_elses_is_touched(host: LibvirtHost) -> None:
    other = "<o:mark xmlns:o='urn:other'/>"
    host.domains.define(NEW.replace("<memory>", f"<metadata>{other}</metadata><memory>"))
    host.domains.set_metadata("new", "<manifest name='new'/>", False)
    stored = host.domains.read_domain("new").persistent_xml
    assert f'<vr:manifest xmlns:vr="{MARK_NAMESPACE}" name="new"/>' in stored
    assert "urn:other" in stored


def test_what_is_done_to_a_domain_that_is_not_there_is_not_found(host: LibvirtHost) -> None:
    for deed in (host.domains.start, host.domains.shut_down, host.domains.undefine_new):
        with pytest.raises(NotFoundError, match="domain absent: "):
            deed("absent")


def test_a_host_has_a_name_and_a_uri(host: LibvirtHost) -> None:
    assert host.domains.host
    assert host.domains.uri.startswith("test:///")


def test_networks_are_listed_with_their_state(host: LibvirtHost) -> None:
    assert host.networks.list_networks() == {"lan": True}
