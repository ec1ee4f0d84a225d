"""Make the seed of cloud-init's: an ISO 9660 image, in memory. The only importer of pycdlib.

Loaded only when a seed is made. The same files give the same bytes: every date in it is fixed.
"""

from __future__ import annotations

import io
import time
from contextlib import contextmanager
from typing import Iterator, Mapping

import pycdlib  # type: ignore[import-untyped,unused-ignore]
from pycdlib import dates, headervd, utils

LABEL = "cidata"  # by which cloud-init's NoCloud data source finds it
_BEGIN = 946684800.0  # 2000-01-01, the date of everything in the image
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


def make_image(files: Mapping[str, str]) -> bytes:
    """Return an ISO 9660 image with Joliet and Rock Ridge that has these files."""
    with _opened_image() as image:
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
def _opened_image() -> Iterator[pycdlib.PyCdlib]:
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    try:
        yield image
    finally:
        image.close()
