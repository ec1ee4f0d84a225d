"""Measurements that are kept, in files `measurements/ID.json` of the state folder."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Tuple

from reconciler.adapters.state import files
from reconciler.adapters.text_files import place_file, write_beside
from reconciler.core.frozen import replace
from reconciler.core.measurements.values import Measurement, read_measurement, write_measurement
from reconciler.errors import RefusedError, TransientError

FOLDER = "measurements"
KEPT = 500
TRIES = 100  # names that somebody else may take before ours


class FolderMeasurements:
    """Measurements below a state folder; made there when first written to."""

    def __init__(self, state: str) -> None:
        """Touch nothing yet."""
        self.folder = os.path.join(state, FOLDER)

    def keep(self, measurement: Measurement) -> Measurement:
        """Keep one, and return it with the ID that was free. Raises TransientError."""
        try:
            files.make_folder(self.folder)
            kept = self._write_new(measurement)
            self._forget_old()
        except OSError as error:
            raise TransientError(
                f"{self.folder}: the result cannot be kept: {error.strerror}"
            ) from error
        return kept

    def _write_new(self, measurement: Measurement) -> Measurement:
        for number in range(1, TRIES):
            suffix = f"-{number}" if number > 1 else ""
            named = replace(measurement, id=f"{measurement.id}{suffix}")
            path = os.path.join(self.folder, f"{named.id}{files.SUFFIX}")
            text = write_measurement(named)
            beside = write_beside(
                path, text, files.FILE_MODE, prepare=lambda handle: files.give(handle, self.folder)
            )
            with suppress(FileExistsError):
                place_file(beside, path, is_new=True)
                return named
        raise TransientError(f"{self.folder}: every name for {measurement.id} is taken")

    def _forget_old(self) -> None:
        for name in self._list_names()[:-KEPT]:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, name))

    def _list_names(self) -> Tuple[str, ...]:
        """Return the names of the files, the oldest first."""
        try:
            names = [name for name in os.listdir(self.folder) if name.endswith(files.SUFFIX)]
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise TransientError(f"{self.folder}: cannot be read: {error.strerror}") from error
        times = [(files.read_time(os.path.join(self.folder, name)) or 0.0, name) for name in names]
        return tuple(name for _, name in sorted(times))

    def list(self) -> Tuple[Tuple[Measurement, ...], Tuple[str, ...]]:
        """Return those that can be read, newest first, and what is wrong with the others."""
        found, problems = [], []
        for name in reversed(self._list_names()):
            path = os.path.join(self.folder, name)
            try:
                with open(path, encoding="utf-8") as file:
                    found.append(read_measurement(file.read(), path))
            except RefusedError as error:
                problems.append(str(error))
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{path}: cannot be read: {error}")
        return tuple(found), tuple(problems)
