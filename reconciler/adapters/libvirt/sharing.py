"""Clone a file by sharing its blocks (FICLONE), which libvirt's API can do for raw only.

Works on files that this process can open, on a file system that shares blocks (XFS with reflink=1,
btrfs). Writes only into a file that it is given; knows no libvirt.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import contextmanager
from typing import Iterator

# linux/fs.h; the same on all architectures of Rocky 9 but ppc64le, which has other ioctl numbers.
FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
# A whole number of blocks on any file system; a range that does not end the file must be one.
TRIAL = 65536


def can_share(folder: str, image: str) -> bool:
    """Whether a file in the folder could share the blocks of the image.

    Tried with one block of the real image and a file without a name (O_TMPFILE), of which nothing
    is ever to be seen. Whatever stands in the way, a permission as well, means no.
    """
    try:
        with _opened(image, os.O_RDONLY) as source, _unnamed(folder) as target:
            length = TRIAL if os.fstat(source).st_size >= TRIAL else 0  # 0: to the end
            fcntl.ioctl(target, FICLONERANGE, struct.pack("qQQQ", source, 0, length, 0))
    except OSError:
        return False
    return True


def share(image: str, path: str) -> None:
    """Make the existing file at `path` a clone of the image. Raises OSError.

    The file's owner, mode and label stay. What is at `path` must be an ordinary file: a link could
    lead anywhere.
    """
    for_writing = os.O_WRONLY | os.O_NOFOLLOW
    with _opened(image, os.O_RDONLY) as source, _opened(path, for_writing) as target:
        os.ftruncate(target, 0)  # of a longer file the rest would stay
        fcntl.ioctl(target, FICLONE, source)
        os.fsync(target)


@contextmanager
def _opened(path: str, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _unnamed(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
