"""What libvirt's errors become. Real ones where the test driver has them, else made."""

from __future__ import annotations

import ctypes
import signal
from functools import partial
from operator import methodcaller
from typing import Type

import libvirt
import pytest

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.host import connect
from reconciler.errors import (
    MissingError,
    NotFoundError,
    ReconcilerError,
    TerminalError,
    TransientError,
)


class Made(libvirt.libvirtError):  # type: ignore[misc,unused-ignore]
    """An error with a code and a domain of our choice."""

    def __init__(self, code: int, domain: int, message: str = "first\nsecond") -> None:
        """Take the place of what libvirt last reported in this thread."""
        Exception.__init__(self, message)
        self.err = (code, domain, message, 2, message, None, None, 0, 0)


def translated(error: libvirt.libvirtError, *absent: int) -> ReconcilerError:
    with pytest.raises(ReconcilerError) as caught, binding.calling("domain vm1: starting", *absent):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


RPC, REMOTE, QEMU = libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE, libvirt.VIR_FROM_QEMU


@pytest.mark.parametrize(
    ("code", "domain", "kind"),
    [
        (libvirt.VIR_ERR_INTERNAL_ERROR, RPC, TransientError),  # client socket is closed
        (libvirt.VIR_ERR_SYSTEM_ERROR, RPC, TransientError),  # failed to connect socket
        (libvirt.VIR_ERR_SYSTEM_ERROR, REMOTE, TransientError),
        (libvirt.VIR_ERR_INVALID_CONN, QEMU, TransientError),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, QEMU, TransientError),
        (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, QEMU, TransientError),
        (libvirt.VIR_ERR_RESOURCE_BUSY, QEMU, MissingError),
        (libvirt.VIR_ERR_INTERNAL_ERROR, QEMU, TransientError),
        (libvirt.VIR_ERR_SYSTEM_ERROR, QEMU, TransientError),
        (libvirt.VIR_ERR_HOOK_SCRIPT_FAILED, QEMU, TransientError),
        (libvirt.VIR_ERR_OPERATION_INVALID, QEMU, TransientError),
        (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_FROM_NETWORK, MissingError),
        (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_FROM_STORAGE, MissingError),
        (libvirt.VIR_ERR_RPC, RPC, TerminalError),  # unknown procedure
        (libvirt.VIR_ERR_XML_ERROR, QEMU, TerminalError),
        (libvirt.VIR_ERR_CONFIG_UNSUPPORTED, QEMU, TerminalError),
        (libvirt.VIR_ERR_NO_NETWORK, QEMU, MissingError),
    ],
)
def test_whether_trying_again_can_help_is_the_type(
    code: int, domain: int, kind: Type[ReconcilerError]
) -> None:
    assert type(translated(Made(code, domain), libvirt.VIR_ERR_NO_DOMAIN)) is kind


SYSTEM, INTERNAL = libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_ERR_INTERNAL_ERROR
NONE, STORAGE = libvirt.VIR_FROM_NONE, libvirt.VIR_FROM_STORAGE
CLOSED = "internal error: qemu unexpectedly closed the monitor: qemu-system-x86_64: "


@pytest.mark.parametrize(
    ("code", "domain", "message", "kind"),
    [
        (SYSTEM, NONE, "Cannot get interface MTU on 'br0': No such device", MissingError),
        (SYSTEM, STORAGE, "Cannot access storage file '/a.iso': No such file or directory",
         MissingError),
        (INTERNAL, QEMU, f"{CLOSED}cannot set up guest memory 'pc.ram': Cannot allocate memory",
         MissingError),
        (INTERNAL, QEMU, f'{CLOSED}-blockdev ...: Failed to get "write" lock', MissingError),
        (SYSTEM, QEMU, "Unable to open /dev/nvme0n1: Device or resource busy", MissingError),
        (INTERNAL, QEMU, f"{CLOSED}-no-such-option: invalid option", TerminalError),
        (INTERNAL, QEMU, f"{CLOSED}-device foo: 'foo' is not a valid device model name",
         TerminalError),
        (INTERNAL, QEMU, f"{CLOSED}something that nobody knows", TransientError),
    ],
)  # fmt: skip
def test_what_the_host_lacks_now_is_tried_again_and_what_qemu_refuses_is_not(
    code: int, domain: int, message: str, kind: Type[ReconcilerError]
) -> None:
    assert type(translated(Made(code, domain, message))) is kind


def test_only_the_code_that_the_caller_named_means_not_found() -> None:
    gone = Made(libvirt.VIR_ERR_NO_DOMAIN, QEMU)
    assert type(translated(gone, libvirt.VIR_ERR_NO_DOMAIN)) is NotFoundError
    assert type(translated(gone)) is TransientError
    assert type(translated(gone, libvirt.VIR_ERR_NO_STORAGE_POOL)) is TransientError


def test_the_message_is_one_line_that_names_object_and_deed() -> None:
    assert str(translated(Made(libvirt.VIR_ERR_XML_ERROR, QEMU))) == (
        "domain vm1: starting: first; second"
    )


def test_our_own_errors_pass_as_they_are() -> None:
    with pytest.raises(TerminalError, match=r"^ours$"), binding.calling("domain vm1: starting"):
        raise TerminalError("ours")


def test_a_constant_that_this_libvirt_lacks_matches_no_error() -> None:
    assert binding._constant("VIR_ERR_OF_THE_FUTURE") == -1
    assert binding._constant("VIR_DOMAIN_FLAG_OF_THE_FUTURE") == 0


def test_libvirt_prints_nothing_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotFoundError):
        connect("test:///default").domains.read_domain("absent")
    assert capfd.readouterr() == ("", "")


def test_an_interrupt_during_a_call_that_fails_stays_an_interrupt() -> None:
    connection = libvirt.open("test:///default")
    look_up = partial(libvirt.libvirtmod.virDomainLookupByName, connection._o, "absent")
    # No Python code runs between the two calls, so the signal is handled at the next chance.
    calls = (partial(ctypes.CDLL(None)["raise"], int(signal.SIGUSR1)), look_up)
    former = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(map(methodcaller("__call__"), calls))
    finally:
        signal.signal(signal.SIGUSR1, former)


@pytest.mark.parametrize(
    "uri", ["qemu+unix:///system?socket=/no/such/socket", "qemu+tcp://127.0.0.1:1/system"]
)
def test_an_unreachable_libvirt_is_one_line_with_the_uri_and_what_to_check(uri: str) -> None:
    with pytest.raises(TransientError) as caught:
        connect(uri).domains.list_domains()
    text = str(caught.value)
    assert uri in text
    assert "virtqemud.socket" in text
    assert "\n" not in text


def test_a_uri_that_cannot_work_is_not_tried_again() -> None:
    with pytest.raises(TerminalError, match=r"cannot reach libvirt at test:///no/such/node\.xml: "):
        connect("test:///no/such/node.xml").domains.list_domains()


def test_the_message_is_one_line_without_a_loose_end() -> None:
    error = Made(libvirt.VIR_ERR_INTERNAL_ERROR, QEMU, "qemu-img: too large\n;\n")
    assert str(translated(error)) == "domain vm1: starting: qemu-img: too large"
