"""A guest's serial console at a terminal, over libvirt's stream API. Knows files, no terminal."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import Callable, Iterator

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.objects import Stream
from reconciler.core.access import ConsoleFiles
from reconciler.errors import BusyError

ESCAPE = b"\x1d"  # Ctrl-], as of telnet and virsh
_PART = 4096
_IN_USE = "Active console session"  # libvirt's words (qemuDomainOpenConsole)


def connect(uri: str, name: str, files: ConsoleFiles, *, force: bool) -> bool:
    """Connect a domain's console with a terminal; return whether the host's side ended it.

    Raises BusyError if someone else has it open, unless `force` disconnects them. It is on a
    connection of its own: one that was opened before the event loop is not served by it.
    """
    binding.register_event_loop()
    doing = f"domain {name}: opening its console"
    with binding.calling(doing):
        connection = binding.open_connection(uri)
        try:
            stream = connection.newStream(binding.STREAM_NONBLOCK)
            flags = binding.CONSOLE_FORCE if force else binding.CONSOLE_SAFE
            try:
                connection.lookupByName(name).openConsole(None, stream, flags)
            except binding.Error as error:
                if _IN_USE in binding.message_of(error):
                    raise BusyError(doing) from error
                raise
            session = _Session(stream, files)
            session.run()
            return session.is_closed
        finally:
            with suppress(binding.Error):
                connection.close()


class _Session:
    """What was typed and not sent yet, and whether it is over."""

    def __init__(self, stream: Stream, files: ConsoleFiles) -> None:
        self._stream = stream
        self._files = files
        self._typed = b""
        self._is_over = False
        self.is_closed = False

    def run(self) -> None:
        """Pass on what is typed and what the guest writes, until it is over."""
        listening = binding.STREAM_READABLE | binding.STREAM_BROKEN
        self._stream.eventAddCallback(listening, self._pass_on, None)
        keyboard, stop = self._files.keyboard, self._files.stop
        try:
            with _watching(keyboard, self._read_keys), _watching(stop, self._end):
                while not self._is_over:
                    binding.run_events_once()
        finally:
            with suppress(binding.Error):
                self._stream.eventRemoveCallback()
                self._stream.abort()

    def _end(self) -> None:
        self._is_over = True

    def _read_keys(self) -> None:
        """Take what was typed; the end of the keyboard is as good as the escape key."""
        try:
            keys = os.read(self._files.keyboard, _PART)
        except OSError:
            keys = b""
        typed, escape, _ = keys.partition(ESCAPE)
        self._is_over = bool(escape) or not keys
        self._typed += typed
        events = binding.STREAM_READABLE | binding.STREAM_BROKEN | binding.STREAM_WRITABLE
        self._stream.eventUpdateCallback(events)

    def _pass_on(self, _stream: Stream, events: int, _opaque: object) -> None:
        try:
            if events & binding.STREAM_READABLE:
                self._show()
            if events & binding.STREAM_WRITABLE:
                self._send()
        except (binding.Error, OSError):
            self.is_closed = True
        if events & binding.STREAM_BROKEN:
            self.is_closed = True
        self._is_over = self._is_over or self.is_closed

    def _show(self) -> None:
        """Show what the guest wrote."""
        found = self._stream.recv(_PART)
        if not isinstance(found, bytes):
            return  # nothing yet
        self.is_closed = not found
        while found:
            found = found[os.write(self._files.screen, found) :]

    def _send(self) -> None:
        """Send what was typed, as much as is taken."""
        if self._typed:
            self._typed = self._typed[max(0, self._stream.send(self._typed)) :]
        if not self._typed:
            self._stream.eventUpdateCallback(binding.STREAM_READABLE | binding.STREAM_BROKEN)


@contextmanager
def _watching(number: int, call: Callable[[], None]) -> Iterator[None]:
    watch = binding.watch_file(number, call)
    try:
        yield
    finally:
        binding.stop_watching(watch)
