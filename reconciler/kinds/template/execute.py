"""Fetch the image of a template: into a partial volume, verified, and only then under its name.

What is on disk decides how far an earlier run came, and nothing else does: bytes under `….download`
are some of the published file, from its beginning; their digest says whether they are all of it.
`….unpacking` is begun again each time. A name without these ends is that of a whole image.
"""

from __future__ import annotations

from contextlib import closing
from typing import Callable, Iterator, Mapping, Optional, Tuple

from reconciler.control.ports import Clock, Host, Progress
from reconciler.core.frozen import frozen
from reconciler.core.image_headers import find_flaw, find_most
from reconciler.core.manifest import DOWNLOADING, UNPACKING
from reconciler.core.transfers import Downloads, FetchImage, Incoming, PartialVolume
from reconciler.core.units import format_roughly
from reconciler.errors import FullError, MissingError, TerminalError, TransientError
from reconciler.kinds.api import ActionTask, wait_until

TRIES = 3  # in a row that bring nothing
MOST_PIECES = 100  # connections for one file
PAUSE = 1.0  # seconds before the next connection; doubles
SPARE = 20  # one part in so many of what is free in the pool is left
GIB = 2**30
MOST_UNANNOUNCED = 64 * GIB  # of a file whose server does not say how large it is
SEEN_LIMIT = 600.0  # seconds until libvirt has looked through the pool
TELL_EVERY = 0.25  # seconds


def execute_template(task: ActionTask) -> Tuple[str, ...]:
    """Fetch what the action says."""
    for step in task.action.steps:
        if isinstance(step, FetchImage):
            _Fetch(task.host, step, task.progress, task.clock).run(task.action.name)
    return ()


@frozen
class Ticker:
    """Reports how far something is, a few times a second; there the work can be interrupted."""

    what: str
    progress: Progress
    clock: Clock

    def follow(self, total: Optional[int]) -> Callable[[int], None]:
        """Return what is called with the bytes that are done."""
        last = [self.clock.now() - TELL_EVERY]

        def tell(done: int) -> None:
            now = self.clock.now()
            if now - last[0] >= TELL_EVERY or done == total:
                last[0] = now
                self.clock.sleep(0)
                self.progress(self.what, min(done, total or 0), total or 0)

        return tell


@frozen
class _Fetch:
    """One image that is fetched."""

    host: Host
    step: FetchImage
    progress: Progress
    clock: Clock

    @property
    def _downloads(self) -> Downloads:
        return self.host.downloads

    def _open_part(self, end: str) -> PartialVolume:
        return self.host.storage.open_part(self.step.pool, f"{self.step.name}{end}")

    def _follow(self, what: str, total: Optional[int]) -> Callable[[int], None]:
        return Ticker(what, self.progress, self.clock).follow(total)

    def run(self, template: str) -> None:
        """Fetch, verify, unpack, and give the image its name."""
        image = self._open_part("")
        part = self._open_part(DOWNLOADING)
        if not image.measure():  # another run may have been faster
            try:
                self._download(part)
                whole = self._unpack(part)
                refuse_flaw(whole.read_start(), self.step)
            except (TerminalError, FullError):
                self._open_part(UNPACKING).delete()
                part.delete()
                raise
            if whole != part:  # first: once the image has its name, nothing is fetched again
                part.delete()
            whole.publish(self.step.name, describe_origin(template, self.step))
        self._open_part(UNPACKING).delete()
        part.delete()
        if not wait_until(self.clock, SEEN_LIMIT, lambda: image.is_seen(self.step.name)):
            raise TransientError(
                f"volume {self.step.pool}/{self.step.name}: fetched, and libvirt has not looked "
                "through the pool yet because a volume is being made in it; apply again"
            )

    def _download(self, part: PartialVolume) -> None:
        """Bring all bytes of the published file; what an earlier run left is verified with them."""
        if part.measure() and self._digest(part) == self.step.sha256:
            return
        for may_mix in (True, False):
            is_mixed = self._fill(part) and may_mix
            found = self._digest(part)
            if found == self.step.sha256:
                return
            part.delete()
            if not is_mixed and self.step.listed:
                raise MissingError(
                    f"{self.step.url}: wrong checksum: sha256 is {found}, and {self.step.listed} "
                    f"has {self.step.sha256}; the server may be in the middle of an update: apply "
                    "again later"
                )
            if not is_mixed:  # in one piece from one server: this is what it has
                raise TerminalError(
                    f"{self.step.url}: wrong checksum: sha256 is {found}, and should be "
                    f"{self.step.sha256}; if the file was changed rightly, write its new checksum "
                    "in spec.image.sha256"
                )

    def _digest(self, part: PartialVolume) -> str:
        return part.digest(self._follow("verifying", part.measure()))

    def _fill(self, part: PartialVolume) -> bool:
        """Bring the rest of the file; return whether it came in more than one piece."""
        validator, failures = "", 0
        is_mixed = bool(part.measure())
        for _ in range(MOST_PIECES):
            before = part.measure()
            try:
                with self._downloads.open(self.step.url, before, validator) as incoming:
                    validator = incoming.validator
                    self._take(part, incoming)
            except MissingError:
                raise
            except TransientError:
                failures = 0 if part.measure() > before else failures + 1
                if failures >= TRIES:
                    raise
                is_mixed = is_mixed or bool(part.measure())
                self.clock.sleep(PAUSE * 2**failures)
            else:
                return is_mixed
        raise TransientError(f"{self.step.url}: the connection was cut {MOST_PIECES} times")

    def _take(self, part: PartialVolume, incoming: Incoming) -> None:
        """Write what comes, if there is room for it."""
        if incoming.offset == 0:
            part.delete()
        room, total = find_room(part.find_free()), incoming.total
        if total is not None and total - incoming.offset > room:
            raise FullError(
                f"{self.step.url}: {format_roughly(total)}, and storage pool {self.step.pool} has "
                f"room for {format_roughly(room)}"
            )
        most = incoming.offset + room if total is None else total
        part.append(self._limit(incoming, min(most, MOST_UNANNOUNCED) if total is None else most))
        if total is not None and part.measure() < total:
            raise TransientError(
                f"{self.step.url}: the connection was cut after {format_roughly(part.measure())} "
                f"of {format_roughly(total)}"
            )

    def _limit(self, incoming: Incoming, most: int) -> Iterator[bytes]:
        tell, done = self._follow("fetching", incoming.total), incoming.offset
        for chunk in incoming.chunks:
            done += len(chunk)
            if done > most:
                raise FullError(
                    f"{self.step.url}: the server does not say how much it sends, and there is no "
                    f"end after {format_roughly(most)}"
                )
            yield chunk
            tell(done)

    def _unpack(self, part: PartialVolume) -> PartialVolume:
        """Return the volume that holds the image: the published file itself if it is not packed."""
        chunks = self._downloads.unpack(part.path, self._follow("unpacking", part.measure()))
        if chunks is None:
            return part
        whole = self._open_part(UNPACKING)
        whole.delete()
        try:
            with closing(chunks):  # else a file that is deleted keeps its room in a full pool
                whole.append(limit_unpacked(chunks, self.step, find_room(whole.find_free())))
        except TerminalError as error:
            raise TerminalError(f"{self.step.url}: {error}") from error
        return whole


def find_room(free: int) -> int:
    """Return how much of what is free in a pool an image may take: guests need some too."""
    return free - free // SPARE


def describe_origin(template: str, step: FetchImage) -> Mapping[str, str]:
    """Return what is kept with an image, for people and for `prune --images`."""
    return {"template": template, "url": step.url, "sha256": step.sha256}


def limit_unpacked(chunks: Iterator[bytes], step: FetchImage, room: int) -> Iterator[bytes]:
    """Yield the chunks of an image that is unpacked, as long as it is one and there is room."""
    done, most = 0, room
    for chunk in chunks:
        if not done:
            refuse_flaw(chunk, step)
            most = find_most(chunk)
        done += len(chunk)
        if done > room:
            raise FullError(
                f"{step.url}: it unpacks to more than the {format_roughly(room)} that there is "
                f"room for in storage pool {step.pool}"
            )
        if most and done > most:
            raise TerminalError(f"it unpacks to more than {format_roughly(most)}, twice its size")
        yield chunk


def refuse_flaw(start: bytes, step: FetchImage) -> None:
    """Raise TerminalError if these first bytes are not those of an image that is complete alone."""
    flaw = find_flaw(start, step.format)
    if flaw:
        raise TerminalError(f"{step.url}: {flaw}")
