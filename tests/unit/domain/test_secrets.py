"""Secrets are hidden in a definition that is kept, and come back from the domain as it is."""

from __future__ import annotations

import json

import pytest

from reconciler.core.names import Owner
from reconciler.core.secrets import fill_secrets, hide_secrets
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.mark import read_owner, set_owner

DOMAIN = """\
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>vm</name>
  <devices>
    <graphics type='vnc' port='-1' passwd='it&apos;s secret, hunter2'/>
    <graphics type='spice' port='-1' passwd='hunter3'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='id=a,password=hunter4,x=y'/>
  </qemu:commandline>
</domain>
"""


def test_all_else_stays_byte_for_byte() -> None:
    hidden = hide_secrets(DOMAIN)
    assert "hunter" not in hidden
    assert "id=a,password=(hidden),x=y" in hidden
    assert fill_secrets(hidden, DOMAIN) == (DOMAIN, ())


def test_without_secrets_it_is_the_same_text() -> None:
    plain = "<domain><name>password of nobody</name></domain>"
    assert fill_secrets(hide_secrets(plain), "<domain/>") == (plain, ())


def test_each_device_gets_its_own_back_whatever_stands_beside_it() -> None:
    present = DOMAIN.replace("hunter3", "hunter5").replace("    <graphics type='vnc'", "    <graphics type='vnc' listen='::1'")  # fmt: skip
    filled, missing = fill_secrets(hide_secrets(DOMAIN), present)
    assert (filled, missing) == (DOMAIN.replace("hunter3", "hunter5"), ())


def test_a_password_that_is_gone_is_said_and_not_replaced_by_what_hid_it() -> None:
    present = DOMAIN.replace(" passwd='hunter3'", "")
    filled, missing = fill_secrets(hide_secrets(DOMAIN), present)
    assert missing == ("graphics/@passwd",)
    assert filled == present


@pytest.mark.parametrize(
    ("spec", "kept"),
    [
        pytest.param(
            {"xml": [{"fragment": '<graphics passwd="a,b c"/>'}], "disks": [{"name": "root"}]},
            '{"disks":[{"name":"root"}],"xml":[{"fragment":"<graphics passwd=\\"(hidden)\\"/>"}]}',
            id="in a fragment",
        ),
        pytest.param(
            {"cloudInit": {"password": "hunter2", "user": "bob"}},
            '{"cloudInit":{"password":"(hidden)","user":"bob"}}',
            id="under a name that says so",
        ),
        pytest.param(
            {
                "xml": [
                    {"xpath": "/domain/sysinfo[@type='fwcfg']", "fragment": "<entry>a b</entry>"}
                ]
            },
            '{"xml":[{"fragment":"<entry>(hidden)</entry>",'
            '"xpath":"/domain/sysinfo[@type=\'fwcfg\']"}]}',
            id="in a fragment, by the place that it is merged into",
        ),
        pytest.param({"cpus": 2}, '{"cpus": 2}', id="none"),
    ],
)
def test_the_spec_in_our_mark_stays_json(spec: object, kept: str) -> None:
    xml = set_owner(DOMAIN, Owner("vm", "g1", json.dumps(spec)))
    owner = read_owner(parse(hide_secrets(xml)))
    assert owner is not None
    assert owner.spec == kept
    assert json.loads(owner.spec)
