"""A matrix: the same disk measured on every combination of bus, cache and I/O mode. Pure."""

from __future__ import annotations

from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.measurements.comparison import compare_measurements
from reconciler.core.measurements.judgement import Spread, compare_spreads
from reconciler.core.measurements.values import DiskSetup, Measurement
from reconciler.errors import UsageError

# Each in the order in which it is measured; the first combination is what the others stand beside.
BUSES = ("virtio", "scsi", "sata", "ide", "usb")
CACHES = ("none", "directsync", "writethrough", "writeback", "unsafe")
IO_MODES = ("native", "io_uring", "threads")
# QEMU refuses native I/O through the page cache of the host.
UNCACHED = frozenset({"none", "directsync"})
BOOT_SECONDS = 60  # what a start and a stop take, roughly


@frozen
class Combination:
    """How the guest gets the disk that is measured."""

    bus: str
    cache: str
    io: str

    @property
    def label(self) -> str:
        """Its name as the label of a measurement: `virtio-none-native`."""
        return f"{self.bus}-{self.cache}-{self.io}"

    @property
    def words(self) -> str:
        """Its name in a sentence: `virtio, cache=none, io=native`."""
        return f"{self.bus}, cache={self.cache}, io={self.io}"

    def make_setup(self, disk: str) -> DiskSetup:
        """Return it as the setup of a disk of which nothing else is known."""
        return DiskSetup(
            name=disk,
            target="",
            bus=self.bus,
            image="",
            image_format="",
            cache=self.cache,
            io=self.io,
        )


def list_combinations(
    offered: Iterable[str],
    buses: Sequence[str] = (),
    caches: Sequence[str] = (),
    modes: Sequence[str] = (),
) -> Tuple[Combination, ...]:
    """Return the combinations of what is chosen (empty: of all) that can be.

    `offered` are the buses of the host. Raises UsageError for one that it has not, and where
    nothing is left.
    """
    there = set(offered)
    strange = [bus for bus in buses if bus not in there]
    if strange:
        names = ", ".join(bus for bus in BUSES if bus in there)
        raise UsageError(
            f"--bus {strange[0]}: this host does not offer it for the machine type; it has: {names}"
        )
    found = tuple(
        Combination(bus, cache, io)
        for bus in BUSES
        if bus in there and (not buses or bus in buses)
        for cache in CACHES
        if not caches or cache in caches
        for io in IO_MODES
        if (not modes or io in modes) and (io != "native" or cache in UNCACHED)
    )
    if not found:
        raise UsageError(
            "no combination is left: --io native needs --cache none or --cache directsync"
        )
    return found


def read_combination(disk: Optional[DiskSetup]) -> Combination:
    """Return the combination that a measurement of a matrix was made on."""
    if disk is None:
        return Combination("", "", "")
    return Combination(disk.bus, disk.cache or "", disk.io or "")


@frozen
class MatrixCell:
    """One number of a combination, as it is shown, and beside the best of its column."""

    spread: Spread
    is_best: bool
    change: float
    is_noise: bool


@frozen
class MatrixColumn:
    """One number of all combinations; None where one was not measured."""

    name: str
    mode: str
    unit: str
    cells: Tuple[Optional[MatrixCell], ...]

    @property
    def title(self) -> str:
        """What it is called: `rand_read direct`."""
        return f"{self.name} {self.mode}"


@frozen
class Matrix:
    """What was measured, in order, and what was not, with the reason for each."""

    measurements: Tuple[Measurement, ...]
    columns: Tuple[MatrixColumn, ...]

    @property
    def failures(self) -> Tuple[Tuple[Combination, str], ...]:
        """The combinations without a result, and why."""
        return tuple(
            (read_combination(found.environment.disk), "; ".join(found.warnings))
            for found in self.measurements
            if not found.results
        )


def judge_matrix(measurements: Sequence[Measurement]) -> Matrix:
    """Return the columns of a matrix: of each profile one number, each beside the best."""
    found = tuple(measurements)
    if not found:
        return Matrix((), ())
    rows = compare_measurements(found).rows
    columns: List[MatrixColumn] = []
    for row in rows:
        if row.what not in ("operations", "bandwidth"):
            continue
        spreads = [None if cell is None else cell.spread for cell in row.cells]
        best = max((spread for spread in spreads if spread), key=lambda spread: spread.mean)
        mode = row.mode.replace(", ", " ")
        cells = tuple(None if each is None else _stand_beside(best, each) for each in spreads)
        columns.append(MatrixColumn(row.name, mode, row.unit, cells))
    return Matrix(found, tuple(columns))


def _stand_beside(best: Spread, spread: Spread) -> MatrixCell:
    if spread is best:
        return MatrixCell(spread, is_best=True, change=0.0, is_noise=True)
    beside = compare_spreads(best, spread)
    return MatrixCell(spread, is_best=False, change=beside.change, is_noise=beside.is_noise)


_CHOICES: Mapping[str, Callable[[Combination], str]] = {
    "bus": lambda found: found.bus,
    "cache": lambda found: found.cache,
    "io": lambda found: found.io,
}


def list_factors(matrix: Matrix) -> Iterator[Tuple[str, Mapping[str, float]]]:
    """Yield each of bus, cache and I/O mode that has several values, with what each reached.

    What it reached is the mean over all columns and combinations, as a share of the best.
    """
    combinations = [read_combination(found.environment.disk) for found in matrix.measurements]
    for name, read in _CHOICES.items():
        shares: Dict[str, List[float]] = {}
        for column in matrix.columns:
            for combination, cell in zip(combinations, column.cells):
                if cell is not None:
                    shares.setdefault(read(combination), []).append(1 + cell.change)
        if len(shares) > 1:
            yield name, {value: sum(each) / len(each) for value, each in shares.items()}
