"""Make and read ISO 9660 images. The only importer of pycdlib.

Loaded only when a seed is made, or drivers for a Windows are looked for. The same files give the
same image: every date in it is fixed.
"""

from __future__ import annotations

import io
import struct
import time
from contextlib import contextmanager
from typing import BinaryIO, Callable, Iterator, Mapping, Tuple

import pycdlib  # type: ignore[import-untyped,unused-ignore]
from pycdlib import dates, headervd, pycdlibexception, utils

from reconciler.core.frozen import frozen
from reconciler.errors import TerminalError

LABEL = "cidata"  # by which cloud-init's NoCloud data source finds it
ANSWERS = "UNATTEND"  # Windows looks at the files of a medium, whatever it is called
_BEGIN = 946684800.0  # 2000-01-01, the date of everything in the image
_DAMAGED = (pycdlibexception.PyCdlibException, struct.error, ValueError, IndexError)
_FOR_ALL = 0o100444  # mode of the files in the image; the volume itself is private


class _FixedTime:
    """Stands in pycdlib for the module `time`: it is always the same moment there, in UTC."""

    struct_time = time.struct_time
    strptime = staticmethod(time.strptime)
    strftime = staticmethod(time.strftime)
    gmtime = staticmethod(time.gmtime)
    localtime = staticmethod(time.gmtime)

    @staticmethod
    def time() -> float:
        """Return the moment."""
        return _BEGIN


for _module in (dates, headervd, utils, pycdlib.pycdlib):
    vars(_module)["time"] = _FixedTime  # nothing else here uses pycdlib


def make_image(files: Mapping[str, str], label: str = LABEL) -> bytes:
    """Return an ISO 9660 image with Joliet and Rock Ridge that has these files."""
    with _opened_image(label) as image:
        for number, (name, text) in enumerate(sorted(files.items())):
            content = text.encode()
            image.add_fp(
                io.BytesIO(content),
                len(content),
                f"/FILE{number}.;1",
                rr_name=name,
                joliet_path=f"/{name}",
                file_mode=_FOR_ALL,
            )
        written = io.BytesIO()
        image.write_fp(written)
        return written.getvalue()


@contextmanager
def _opened_image(label: str) -> Iterator[pycdlib.PyCdlib]:
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, vol_ident=label, joliet=3, rock_ridge="1.09")
    try:
        yield image
    finally:
        image.close()


@frozen
class IsoContent:
    """An image that is open: its volume label, the paths of its files, and how one is read."""

    label: str
    names: Tuple[str, ...]
    read: Callable[[str], bytes]


@contextmanager
def opened_iso(file: BinaryIO) -> Iterator[IsoContent]:
    """Open an image for reading. Raises TerminalError for what is no ISO 9660 image.

    Paths have no slash at their beginning.
    """
    image = pycdlib.PyCdlib()
    try:
        image.open_fp(file)
    except _DAMAGED as error:
        raise TerminalError(f"is not an ISO 9660 image ({error})") from error
    try:
        kind = _find_names(image)
        label = image.pvd.volume_identifier.decode("latin-1").strip()
        names = tuple(_list_files(image, kind))
        yield IsoContent(label, names, lambda name: _read_file(image, kind, name))
    finally:
        image.close()


def _find_names(image: pycdlib.PyCdlib) -> str:
    """Return by which of an image's trees its files have their real names."""
    if image.has_rock_ridge():
        return "rr_path"
    return "joliet_path" if image.has_joliet() else "iso_path"


def _list_files(image: pycdlib.PyCdlib, kind: str) -> Iterator[str]:
    for folder, _, names in image.walk(**{kind: "/"}):
        for name in names:
            yield f"{folder.strip('/')}/{name.partition(';')[0]}".lstrip("/")


def _read_file(image: pycdlib.PyCdlib, kind: str, name: str) -> bytes:
    content = io.BytesIO()
    try:
        image.get_file_from_iso_fp(content, **{kind: f"/{name}"})
    except pycdlibexception.PyCdlibException:
        if kind != "iso_path":
            raise
        image.get_file_from_iso_fp(content, iso_path=f"/{name};1")
    return content.getvalue()
