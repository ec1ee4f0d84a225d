"""Where a secret can stand, and that it never comes out; what is none does."""

from __future__ import annotations

from typing import Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from reconciler.core import secrets
from reconciler.core.secret_text import HIDDEN, OTHER, hide, hide_flow, hide_phrases
from reconciler.core.secrets import hide_lines, hide_sides, hide_text, hide_value
from tests.unit.hostile import time_limit

S = "hunter2"


ENV = "xml[/domain/qemu:commandline/qemu:env/@value]"
PEM = f"-----BEGIN OPENSSH PRIVATE KEY-----\n{S}\nb3Bl\n-----END OPENSSH PRIVATE KEY-----"

# Path of the change, value; each holds the secret.
VALUES = {
    "graphics": ("xml[/domain/devices/graphics]", f"<graphics type='vnc'\n passwd='{S}'/>"),
    "graphics-quotes": ("xml[/domain/devices/graphics]", f'<graphics passwd="{S}"/>'),
    "graphics-tricky": ("xml[/domain/devices/graphics]", f"<graphics passwd='a&lt;b {S}&apos;'/>"),
    "attribute": ("xml[/domain/devices/graphics/@passwd]", S),
    "attribute-at": ("xml[/domain/devices/graphics[@type='vnc']/@passwd]", f"a {S}"),
    "camel-case": ("xml[/domain/metadata/x]", f"<x:a adminPassword='{S}'/>"),
    "oem-string": ("xml[/domain/sysinfo/oemStrings/entry/text()]", f"any {S}"),
    "oem-string-markup": ("xml[/domain/sysinfo/oemStrings/entry/text()]", f"a</entry>{S}"),
    "oem-strings": ("xml[/domain/sysinfo]", f"<sysinfo type='smbios'><oemStrings><entry>a</entry><entry>{S}</entry></oemStrings></sysinfo>"),
    "oem-string-element": ("xml[/domain/sysinfo/oemStrings/entry]", f"<entry>{S}</entry>"),
    "credential": ("xml[/domain/sysinfo/oemStrings/entry]", f"<entry>io.systemd.credential:passwd.plaintext-password.root={S}, x</entry>"),
    "fw_cfg": ("xml[/domain/sysinfo[@type='fwcfg']/entry]", f"<entry name='opt/x'>{S}</entry>"),
    "fw_cfg-whole": ("xml[/domain/sysinfo]", f"<sysinfo type='fwcfg'><entry name='opt/com.coreos/config'>{{'a': '{S}'}}</entry></sysinfo>"),
    "fw_cfg-cdata": ("xml[/domain/sysinfo]", f"<sysinfo type='fwcfg'><entry name='opt/x'><![CDATA[<a>{S}]]></entry></sysinfo>"),
    "serial-address": ("xml[/domain/sysinfo/system/entry]", f"<entry name='serial'>ds=nocloud;s=http://me:{S}@h/</entry>"),
    "cookie": ("xml[/domain/devices/disk/source/cookies]", f"<cookies><cookie name='id'>{S}</cookie></cookies>"),
    "session": ("xml[/domain/launchSecurity]", f"<launchSecurity><session>{S}</session></launchSecurity>"),
    "answer-file": ("", f"<AutoLogon><Password><Value>{S}</Value><PlainText>true</PlainText></Password></AutoLogon>"),
    "product-key": ("", f"<ProductKey><Key>{S}</Key></ProductKey>"),
    "comment": ("xml[/domain/devices]", f"<a><!-- password={S} --></a>"),
    "never-closed": ("", f"<graphics passwd='{S}"),
    "qemu-env": (ENV, S),
    "qemu-env-element": ("xml[/domain/qemu:commandline/qemu:env]", f"<qemu:env name='LOGIN' value='{S}'/>"),
    "named-value": ("xml[/domain/x]", f"<property name='api-key' type='string' value='{S}'/>"),
    "qemu-secret": ("xml[/domain/qemu:commandline/qemu:arg]", f"<qemu:arg value='secret,id=s0,data={S}'/>"),
    "qemu-secret-format": ("xml[/domain/qemu:commandline/qemu:arg/@value]", f"secret,id=s0,format=raw,data={S},,x"),
    "qemu-secret-json": ("xml[/domain/qemu:commandline/qemu:arg]", f"<qemu:arg value='{{&quot;qom-type&quot;:&quot;secret&quot;,&quot;data&quot;:&quot;{S}&quot;}}'/>"),
    "qemu-secret-json-turned": ("xml[/domain/qemu:commandline/qemu:arg/@value]", f'{{"data": "{S}", "id": "x", "qom-type": "secret"}}'),
    "qemu-password": ("xml[/domain/qemu:commandline/qemu:arg/@value]", f"user=me,password={S}"),
    "qemu-fw_cfg": ("xml[/domain/qemu:commandline/qemu:arg/@value]", f"name=opt/x,string=a,{S}"),
    "qemu-fw_cfg-turned": ("xml[/domain/qemu:commandline/qemu:arg/@value]", f"string={S},name=opt/x"),
    "qemu-smbios": ("xml[/domain/qemu:commandline/qemu:arg/@value]", f"type=11,value=free {S}"),
    "ceph": ("xml[/domain/qemu:commandline/qemu:arg/@value]", f"file=rbd:pool/img:id=me:key={S}==:x=y"),
    "cmdline": ("xml[/domain/os/cmdline/text()]", f"quiet rootpw={S} console=ttyS0"),
    "user-data": ("", f"#cloud-config\npassword: {S}\n"),
    "user-data-quoted": ("", f'users:\n  - name: a\n    "plain_text_passwd": "{S}"\n'),
    "user-data-list-item": ("", f"users:\n  - hashed_passwd: {S}\n    name: a\n"),
    "user-data-block": ("", f"chpasswd:\n  expire: false\n  list: |\n    root:{S}\n\n    me:x{S}\nusers: []\n"),
    "user-data-same-indent": ("", f"chpasswd:\n- root:{S}\nusers: []\n"),
    "user-data-flow": ("", f"users: [{{name: a, passwd: {S}}}]"),
    "user-data-first-line": ("", f"    passwd: {S}"),
    "host-key": ("", f"ssh_keys:\n  rsa_private: |\n    -----BEGIN\n    {S}\n  rsa_public: ssh-rsa AAAA\n"),
    "pem": ("", f"write_files:\n- content: |\n    {PEM}\n"),
    "json": ("", f'{{"user": "a", "password": "{S}"}}'),
    "wireguard": ("", f"[Interface]\nPrivateKey = {S}\nAddress = 10.0.0.1\n"),
    "in-xml": ("xml[/domain/metadata/x]", f"<x:data>\n    users: []\n    password: {S}\n</x:data>"),
    "address": ("", f"http://me:{S}@example.org/"),
    "address-at": ("", f"ftp://me:a@{S}@example.org/"),
    "address-query": ("", f"https://example.org/x.iso?user=me&token={S}"),
    "options": ("xml[/domain/sysinfo/system/entry]", f"<entry name='serial'>ds=nocloud;h=vm;password={S}</entry>"),
    "token-as-user": ("", f"https://{S}@example.org/"),
}  # fmt: skip

# What a reader needs, and is no secret.
PLAIN = {
    "disk": ("disks[root].bus", "virtio"),
    "plain-element": ("xml[/domain/devices/memballoon]", "<memballoon model='virtio' x='a &lt; b'/>"),
    "secret-of-libvirt": ("xml[/domain/devices/disk/auth]", "<auth username='a'><secret type='ceph' usage='it'/></auth>"),
    "secret-of-a-tpm": ("xml[/domain/devices/tpm]", "<encryption secret='6dd3e4a5'/>"),
    "reference": ("xml[/domain/qemu:commandline/qemu:arg/@value]", "vnc=:1,password-secret=sec0"),
    "valid-to": ("xml[/domain/devices/graphics]", "<graphics passwdValidTo='2030-01-01'/>"),
    "locked": ("", "users:\n  - name: a\n    lock_passwd: true\n    ssh_authorized_keys: [ssh-ed25519 AAAA]\n"),
    "smbios": ("xml[/domain/sysinfo/system]", "<system><entry name='serial'>ds=nocloud</entry></system>"),
    "fw_cfg-file": ("xml[/domain/sysinfo]", "<sysinfo type='fwcfg'><entry name='opt/x' file='/a'/></sysinfo>"),
    "number": ("memory.size", 4096),
    "truth": ("autostart", True),
    "nothing": ("os", None),
    "ssh-address": ("", "ssh://git@example.org/vms.git"),
    "public-key": ("", "ssh_keys:\n  rsa_public: ssh-rsa AAAA\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_a_secret_in_a_value_does_not_come_out(name: str) -> None:
    path, value = VALUES[name]
    shown = hide_value(path, value)
    assert S not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize("name", VALUES)
def test_hiding_twice_is_hiding_once(name: str) -> None:
    path, value = VALUES[name]
    once = hide_value(path, value)
    assert hide_value(path, once) == once


@pytest.mark.parametrize("name", VALUES)
def test_another_secret_is_seen_to_be_another_and_no_more(name: str) -> None:
    path, value = VALUES[name]
    old, new = hide_sides(path, value, value.replace(S, "correcthorse"))
    assert old != new
    assert S not in f"{old}{new}"
    assert "correcthorse" not in f"{old}{new}"
    assert new.replace(OTHER, HIDDEN) == old


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_no_secret_stays_as_it_is(name: str) -> None:
    path, value = PLAIN[name]
    assert hide_value(path, value) == value
    assert hide_sides(path, value, value) == (value, value)


def test_a_new_secret_beside_none_is_not_called_another() -> None:
    path = "xml[/domain/devices/graphics/@passwd]"
    assert hide_sides(path, None, S) == (None, HIDDEN)
    assert hide_sides(path, S, None) == (HIDDEN, None)
    assert hide_sides(path, "a", "b") == (HIDDEN, OTHER)


def test_secrets_that_change_places_are_a_change() -> None:
    sides = ("<a><b passwd='x'/><b passwd='y'/></a>", "<a><b passwd='y'/><b passwd='x'/></a>")
    old, new = hide_sides("xml[/a]", *sides)
    assert old != new


def test_names_of_credentials_are_shown() -> None:
    value = f"<entry>io.systemd.credential:net.vpn={S}</entry>"
    shown = hide_value("xml[/domain/sysinfo/oemStrings/entry]", value)
    assert shown == "<entry>io.systemd.credential:net.vpn=(hidden)</entry>"


def test_what_stands_beside_a_secret_stays() -> None:
    value = f"users:\n- name: a\n  passwd: {S}\n  shell: /bin/sh\n"
    assert hide_value("", value) == "users:\n- name: a\n  passwd: (hidden)\n  shell: /bin/sh\n"


MESSAGES: Tuple[Tuple[str, str], ...] = (
    (f"cannot parse <graphics passwd='{S}'/> here", "cannot parse <graphics passwd='(hidden)'/> here"),
    (f"qemu: -object secret,id=a,data={S}: no", "qemu: -object secret,id=a,data=(hidden) no"),
    (f"login failed, password={S}, again", "login failed, password=(hidden), again"),
    (f"cannot fetch https://me:{S}@h/x", "cannot fetch https://(hidden)@h/x"),
    ("web01: password: unknown field; there are x", "web01: password: unknown field; there are x"),
    ("token: not supported, secret: neither", "token: not supported, secret: neither"),
    ("disk <root> is < 4GiB & so on", "disk <root> is < 4GiB & so on"),
    ("cpus.count: 2 -> 4", "cpus.count: 2 -> 4"),
)  # fmt: skip


@pytest.mark.parametrize(("message", "shown"), MESSAGES)
def test_a_message_is_shown_without_secrets(message: str, shown: str) -> None:
    assert hide_text(message) == shown
    assert hide_text(shown) == shown


PASSWORDS: st.SearchStrategy[str] = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Z")), min_size=8, max_size=20
).filter(lambda one: "hidden" not in one)


@given(PASSWORDS)
def test_no_password_comes_out_of_an_element_written_as_libvirt_writes(password: str) -> None:
    element = etree.Element("graphics", type="vnc", passwd=password)
    text = etree.tostring(element, encoding="unicode")
    assert (
        etree.fromstring(hide_value("xml[/domain/devices/graphics]", text)).get("passwd") == HIDDEN
    )


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_can_be_looked_at_and_equal_sides_stay_equal(one: str, two: str) -> None:
    hide_text(one)
    old, new = hide_sides("xml[/a/b]", one, two)
    assert (old == new) == (one == two)
    assert hide_value("", hide_value("", one)) == hide_value("", one)


# What a text is made of that keeps a pattern busy which looks ahead from each of its places.
PIECES = [
    "a", "<a ", "<a '", "<a \"'", "<a>", "<a><a></b></b>", "&#9", "a=", "a ='", 'password="', "password: ", "password:\n",
    "\n", "- ", "\t", "-----BEGIN ", "$1$a", "http://", "://a:", "io.systemd.credential:", "name=opt/", " string=",
    " string=a,,", "type=11,", " type=11,", "secret,", 'secret,data="', '"data":"', '"data":"", ', '"qom-type":"secret',
    "'k':'", "{a: ", ", a:  ", ":key=", "[", "<!--",
]  # fmt: skip
LONG = 150_000  # characters: a second for a pattern that reads each once, an hour if it reads all from each


@pytest.mark.parametrize("piece", PIECES)
def test_a_text_that_is_made_to_be_slow_is_searched_as_fast_as_any_other(piece: str) -> None:
    text = (piece * LONG)[:LONG]
    with time_limit(60):
        for one in (text, f"<{text}=", f"{{{text}}}: =", f"<a {text}"):
            hide_value("", one)
        hide_text(text)
        hide_value("xml[/domain/a]", text)


@pytest.mark.parametrize("number", ["9" * 5000, "0" * 5000 + "65"])
def test_an_entity_of_any_length_is_no_error(number: str) -> None:
    shown = hide_value("", f"<graphics passwd='{S}' title='&#{number};'/>")
    assert S not in shown


def test_every_secret_of_an_object_is_hidden_also_in_quotes() -> None:
    shown = hide_value(
        "xml[/domain/qemu:commandline/qemu:arg/@value]", f'secret,data={S},id=a,data="a {S}"'
    )
    assert S not in shown


WORDS = st.sampled_from(
    [
        "password", "token", "-----BEGIN PRIVATE KEY-----", "$6$abcdefgh", "https://", "user", ":", "=",
        " ", "\n", "\t", "@", "$", "-----", '"', "'", ",", "{", "}", "data", "qom-type", "secret", "a",
    ]
)  # fmt: skip


@settings(max_examples=500)
@given(st.lists(WORDS, max_size=12).map("".join))
def test_what_is_passed_over_unread_holds_nothing_that_the_tables_know(text: str) -> None:
    if not secrets._SIGNS_OF_VALUES.search(text):
        assert hide_phrases(hide_flow(hide_lines(text, hide), hide), hide) == text
    if not secrets._SIGNS.search(text):
        assert hide_phrases(text, hide) == text
