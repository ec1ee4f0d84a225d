"""The grammar of `bench`. On the start-up path: standard library only, no work."""

from __future__ import annotations

import argparse
import os
from typing import Any, Callable

from reconciler.core.units import parse_duration, parse_size

Verb = Callable[..., argparse.ArgumentParser]
SIZE = 2**30  # bytes
LEAST_SIZE, MOST_SIZE = 2**20, 256 * 2**30
RUNTIME = 30  # seconds
MOST_RUNTIME = 3600
RUNS = 4
HOST_RUNTIME, HOST_RUNS = 10, 2
GUEST_FOLDER = "/var/tmp"  # noqa: S108 - the file is made there by mktemp
MOST_RUNS = 100
MOST_DEPTH = 1024
PROFILES = ("seq_write", "seq_read", "rand_write", "rand_read", "rand_rw", "dd_write", "dd_read")
ENGINES = ("libaio", "io_uring", "psync")
IO_CLASSES = ("best-effort", "idle")
LEAST_NICE = 19
MATRIX_PROFILES = ("seq_write", "seq_read", "rand_write", "rand_read")
MATRIX_RUNTIME, BOOT_TIME, TIME_LIMIT = 10, 300, 4 * 3600  # seconds
MOST_LIMIT = 7 * 24 * 3600
BUSES = ("virtio", "scsi", "sata", "ide", "usb")
CACHES = ("none", "directsync", "writethrough", "writeback", "unsafe")
IO_MODES = ("native", "io_uring", "threads")


def add_bench(verbs: Any, verb: Verb) -> None:
    """Add the verb."""
    parser = verb(verbs, "bench", "measure disks and compare the results")
    below = parser.add_subparsers(
        dest="bench_verb", metavar="VERB", required=True, help="what to measure"
    )
    _add_disk(below, verb)
    _add_matrix(below, verb)
    _add_host(below, verb)
    _add_list(below, verb)
    _add_compare(below, verb)


def _add_disk(below: Any, verb: Verb) -> None:
    parser = verb(
        below,
        "disk",
        "measure a disk with fio, dd or hdparm",
        "In a file of its own, which is removed however the command ends. Nothing else is written. "
        "Half of the runs go past the page cache (direct), half through it (buffered).",
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--pool", metavar="NAME", help="the folder of a storage pool of this host")
    where.add_argument("--path", metavar="DIR", help="a folder of this host")
    where.add_argument("--guest", metavar="NAME", help="inside a running guest, by its agent")
    where.add_argument("--device", metavar="DEV", help="only read a device, with hdparm -T and -t")
    _add_profiles(parser, "all")
    parser.add_argument(
        "--guest-path",
        metavar="DIR",
        default=GUEST_FOLDER,
        help=f"with --guest: the folder in the guest (default: {GUEST_FOLDER})",
    )
    _add_extent(parser, RUNTIME)
    _add_limits(parser)
    _add_label(parser)


def _add_profiles(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--profile",
        metavar="NAME",
        action="append",
        choices=PROFILES,
        default=[],
        help=f"{', '.join(PROFILES)} (can be given several times; default: {default})",
    )


def _add_matrix(below: Any, verb: Verb) -> None:
    parser = verb(
        below,
        "matrix",
        "measure a disk on every bus, cache and I/O mode",
        "In a machine that is made for it and removed however the command ends: the machine NAME "
        "of the manifests, or one that is cloned from a template or an image. Nothing of that name "
        "may exist. Each combination is a start of the machine.",
    )
    _add_machine(parser)
    _add_choices(parser)
    _add_profiles(parser, ", ".join(MATRIX_PROFILES))
    parser.add_argument(
        "--guest-path",
        metavar="DIR",
        default=GUEST_FOLDER,
        help=f"the folder in the guest, if the disk is a clone (default: {GUEST_FOLDER}); a blank "
        "disk gets a file system",
    )
    parser.add_argument(
        "--boot-time",
        metavar="TIME",
        type=_read_limit,
        default=BOOT_TIME,
        help="that a start may take until the agent answers (default: 5m)",
    )
    parser.add_argument(
        "--time-limit",
        metavar="TIME",
        type=_read_limit,
        default=TIME_LIMIT,
        help="that everything may take (default: 4h)",
    )
    _add_extent(parser, MATRIX_RUNTIME)
    _add_limits(parser)
    _add_label(parser)


def _add_machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the machine, which does not exist yet")
    parser.add_argument("paths", metavar="PATH", nargs="*", help="manifest file or folder")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--template", metavar="NAME", help="clone this template of the manifests")
    origin.add_argument(
        "--image", metavar="FILE", type=os.path.abspath, help="clone this image, which is in a pool"
    )
    parser.add_argument(
        "--disk", metavar="NAME", help="the disk that is measured (default: the first)"
    )


def _add_choices(parser: argparse.ArgumentParser) -> None:
    for name, choices in (("--bus", BUSES), ("--cache", CACHES), ("--io", IO_MODES)):
        parser.add_argument(
            name,
            metavar="NAME",
            action="append",
            choices=choices,
            default=[],
            help=f"{', '.join(choices)} (can be given several times; default: all on offer)",
        )


def _add_host(below: Any, verb: Verb) -> None:
    parser = verb(
        below,
        "host",
        "measure processor, memory and network of this host",
        "With those of openssl, sysbench, mbw and iperf3 that are installed; what is missing is "
        "named with its package. Or the network between two guests.",
    )
    network = parser.add_mutually_exclusive_group()
    network.add_argument(
        "--iperf3",
        metavar="HOST",
        help="measure the network to this host, on which `iperf3 --server` runs; HOST or HOST:PORT",
    )
    network.add_argument(
        "--guests",
        metavar="NAME",
        nargs=2,
        help="measure only the network between these two guests, by their agents and iperf3",
    )
    parser.add_argument(
        "--runtime",
        metavar="TIME",
        type=_read_runtime,
        default=HOST_RUNTIME,
        help="of each run (default: 10s)",
    )
    parser.add_argument(
        "--runs",
        metavar="N",
        type=_count_host_runs,
        default=HOST_RUNS,
        help="of each figure (default: 2)",
    )
    parser.add_argument(
        "--nice", metavar="N", type=_read_nice, default=0, help="run the programs with nice -n N"
    )
    _add_label(parser)


def _add_extent(parser: argparse.ArgumentParser, runtime: int) -> None:
    parser.add_argument(
        "--size", metavar="SIZE", type=_read_size, default=SIZE, help="of the file (default: 1GiB)"
    )
    parser.add_argument(
        "--runtime",
        metavar="TIME",
        type=_read_runtime,
        default=runtime,
        help=f"of each run of fio (default: {runtime}s)",
    )
    parser.add_argument(
        "--runs",
        metavar="N",
        type=_count_runs,
        default=RUNS,
        help="runs of each profile, half of them direct (default: 4)",
    )
    parser.add_argument(
        "--depth",
        metavar="N",
        type=_count_depth,
        action="append",
        default=[],
        help="operations of fio under way at a time (can be given several times; default: 16 for "
        "sequential profiles, 32 for random ones)",
    )
    parser.add_argument(
        "--engine",
        metavar="NAME",
        action="append",
        choices=ENGINES,
        default=[],
        help="of fio: libaio, io_uring or psync (can be given several times; default: libaio)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--nice", metavar="N", type=_read_nice, default=0, help="run the programs with nice -n N"
    )
    parser.add_argument(
        "--ionice",
        metavar="CLASS",
        choices=IO_CLASSES,
        help="run the programs in this class of ionice: best-effort or idle",
    )
    parser.add_argument(
        "--rate",
        metavar="SIZE",
        type=_read_rate,
        help="have fio move at most this much per second, so that guests keep their share",
    )


def _add_label(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--label", metavar="TEXT", help="a label to find the result by, like before-bus-change"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def _add_list(below: Any, verb: Verb) -> None:
    parser = verb(
        below,
        "list",
        "list the results that are kept",
        "Newest first. With names, those results in full.",
    )
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="a result's ID or label, or a machine"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


def _add_compare(below: Any, verb: Verb) -> None:
    parser = verb(
        below,
        "compare",
        "compare results with the first of them",
        "One row for what was measured the same way in each. A difference that is no larger than "
        "that of the runs themselves is called noise.",
    )
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="a result's ID or label, a machine, or a file that --format json wrote",
    )
    parser.add_argument(
        "--format", choices=("text", "json", "html"), default="text", help="default: text"
    )
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        help="write a page, its charts as SVG and the numbers as JSON into a folder",
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def _read_size(text: str) -> int:
    size = _parse(parse_size, text)
    if not LEAST_SIZE <= size <= MOST_SIZE or size % LEAST_SIZE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of MiB up to 256GiB")
    return size


def _read_rate(text: str) -> int:
    rate = _parse(parse_size, text)
    if not rate:
        raise argparse.ArgumentTypeError("0 would never end; give a size like 50MiB")
    return rate


def _read_limit(text: str) -> int:
    seconds = _parse(parse_duration, text)
    if not 1 <= seconds <= MOST_LIMIT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time from 1s to 7d")
    return seconds


def _read_runtime(text: str) -> int:
    seconds = _parse(parse_duration, text)
    if not 1 <= seconds <= MOST_RUNTIME:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time from 1s to 1h")
    return seconds


def _parse(parse: Callable[[str], int], text: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count_runs(text: str) -> int:
    runs = _count(text, MOST_RUNS)
    if runs % 2:
        raise argparse.ArgumentTypeError(f"{text!r} is odd; half of the runs are direct")
    return runs


def _count_host_runs(text: str) -> int:
    return _count(text, MOST_RUNS)


def _count_depth(text: str) -> int:
    return _count(text, MOST_DEPTH)


def _read_nice(text: str) -> int:
    return _count(text, LEAST_NICE)


def _count(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
    return int(text)
