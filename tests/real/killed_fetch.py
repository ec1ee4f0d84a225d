"""Apply a machine of a template with an address, and die as by kill -9 at the Nth call of the fetch.

Prints how many calls there are. Run as `python -m tests.real.killed_fetch URI URL SHA256 N`.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, Iterable, Iterator

from reconciler.adapters.downloads import UrlDownloads
from reconciler.adapters.libvirt import uploads
from reconciler.adapters.libvirt.host import connect
from tests.real.test_template_images import machine, template
from tests.real.worlds import Product, manifest_of

CALLS = ("measure", "append", "digest", "read_start", "publish", "is_seen", "delete")


class Countdown:
    """Counts calls, and kills this process at the one of that number."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0

    def step(self) -> None:
        """Count one."""
        self.count += 1
        if self.count == self.number:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, owner: Any, name: str) -> None:
        """Count before and after each call of a function."""
        function = getattr(owner, name)

        def counted(*arguments: Any) -> Any:
            self.step()
            result = function(*arguments)
            self.step()
            return result

        setattr(owner, name, counted)

    def follow(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Count each chunk."""
        for chunk in chunks:
            yield chunk
            self.step()


def main() -> None:
    """Apply."""
    uri, url, sha256, number = sys.argv[1:]
    countdown = Countdown(int(number))
    append = uploads.LibvirtPart.append

    def counted(part: uploads.LibvirtPart, chunks: Iterable[bytes]) -> None:
        append(part, countdown.follow(chunks))

    setattr(uploads.LibvirtPart, "append", counted)  # noqa: B010 - mypy forbids the other way
    for name in CALLS:
        countdown.wrap(uploads.LibvirtPart, name)
    countdown.wrap(uploads, "sync_path")
    countdown.wrap(os, "rename")
    product = Product(connect(uri, downloads=UrlDownloads), (template(url, sha256),))
    outcomes = product.apply(manifest_of(machine("a")))
    assert [outcome.error for outcome in outcomes] == [None, None], outcomes
    print(countdown.count)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
