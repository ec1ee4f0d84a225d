#!/usr/bin/env python3
"""Write docs/windows-drivers.md from the matrix of Windows drivers. A test holds them equal."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Sequence

from reconciler.core.windows_drivers import (
    MatrixFact,
    RatedVersions,
    Rating,
    WindowsRelease,
    find_archive,
    load_matrix,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "windows-drivers.md"

DEPRECATED = "https://gitlab.com/redhat/centos-stream/src/qemu-kvm/-/merge_requests/78"
HEAD = """\
# Windows and virtio-win

<!-- Written by scripts/make_windows_docs.py from core/windows_drivers.json; do not edit. -->

Windows has no driver for disks and network cards on virtio;
[virtio-win](https://github.com/virtio-win) has them, and no version of it suits every Windows.
`validate` and `plan` use the tables of this page. Each cell has its source as a link. The table
is a collection of what its maintainers and users report ({checked}); virt-reconciler itself was
never tested with a real Windows.

## Which virtio-win is used

1. A virtio-win ISO in a CD-ROM drive of the machine's own manifest (`cdroms`).
2. What `spec.virtioWin` of the [Host](hosts.md) names: the path of an ISO or of the RPM's folder,
   or `POOL/VOLUME`.
3. Without that, ISOs and the folder in `/usr/share/virtio-win`, and volumes named
   `virtio-win*.iso` in active pools.

If several are found, the one that suits the guest best is taken, and of equals the newest. The
version is that of the ISO's volume label, because files are renamed. `0.1.N` are the builds of
Fedora (fedorapeople.org), `1.9.N` those of RHEL and Rocky (`dnf install virtio-win`). On another
host only volumes of its pools can be read; what cannot be read is reported as not seen.

The plan of a new Windows with an empty disk on `virtio` or `scsi`, and a change of a disk's bus,
are refused if what was found is known not to work. The message names the version to take and
where to download it.

| Rating | Means | `plan` |
|---|---|---|
{ratings}

## What to take

| `os` | Folder | Take | Install by | pnputil | Update for SHA-2 signatures | Secure Boot |
|---|---|---|---|---|---|---|
{releases}

## Machine type, bus and firmware

What each Windows boots from without virtio-win. `validate` warns where a manifest asks for
something else, and refuses UEFI or Secure Boot for a Windows that cannot boot with it.

| `os` | Chipset | Buses with a driver of its own | Network card with one | UEFI |
|---|---|---|---|---|
{machines}

- **`machine: pc`** is i440FX, the chipset with IDE. Rocky 9 and RHEL 9 have it as
  `pc-i440fx-rhel7.6.0` alone and [call it
  deprecated](https://gitlab.com/redhat/centos-stream/src/qemu-kvm/-/merge_requests/78); q35 [has
  no IDE](https://github.com/fog/fog-libvirt/issues/136).
- **Windows XP and 2003** need `machine: pc` and `bus: ide`. They have a driver for virtio and
  none for virtio-scsi.
- **Windows 7 and Server 2008 R2** boot from SATA on q35. For virtio use 0.1.173, or install the
  update for SHA-2 signatures first. Install each driver by its INF: `pnputil -i -a
  E:\\viostor\\2k8R2\\amd64\\viostor.inf`.
- **pnputil** is how one driver is installed in a guest: since Windows 10 1607 `pnputil /add-driver
  INF /install`, before that `pnputil -i -a INF`. With `busChange: {{install: true}}` [the guest's
  agent runs it](how-to/change-a-bus.md#have-the-agent-install-the-driver).
- **The old ones** get no fixes from Microsoft or Red Hat any more. Keep them in a network of
  their own.

## Versions
"""

MEANINGS = {
    Rating.WORKS: ("reported to work, or signed for this Windows", "taken"),
    Rating.UPDATE: ("works only with an update of Windows", "taken, with a note"),
    Rating.REPORTED: ("people report problems", "taken, with a note"),
    Rating.UNSIGNED: ("Windows does not load it: its signature is missing or invalid", "refused"),
    Rating.BROKEN: ("does not work", "refused"),
    Rating.MISSING: ("has no drivers for this Windows", "refused"),
}


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    matrix = load_matrix()
    releases = tuple(matrix.releases.values())
    head = HEAD.format(
        deprecated=DEPRECATED,
        checked=f"state of {matrix.checked}",
        ratings=_table(
            (rating.value, MEANINGS[rating][0], MEANINGS[rating][1]) for rating in Rating
        ),
        releases=_table(map(_summarise, releases)),
        machines=_table(map(_describe_machine, releases)),
    )
    parts = [_render_versions(release) for release in releases]
    return head + "".join(parts) + _render_gaps()


def _table(rows: Iterator[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _link(text: str, source: str) -> str:
    return f"[{text}]({source})"


def _cell(fact: MatrixFact) -> str:
    return _link(fact.value or "none", fact.source)


def _summarise(release: WindowsRelease) -> Sequence[str]:
    return (
        f"`{release.os}`",
        f"`{release.folder}`",
        f"[{release.take.value}]({find_archive(release.take.value)}) "
        f"({_link('why', release.take.source)})",
        _cell(release.install),
        _cell(release.pnputil),
        _cell(release.update),
        "; ".join(_rate(rated) for rated in release.secure_boot),
    )


def _rate(rated: RatedVersions) -> str:
    if not rated.line:
        return _link("no", rated.source)
    return f"{rated.range}: {_link(rated.rating.value, rated.source)}"


def _describe_machine(release: WindowsRelease) -> Sequence[str]:
    uefi = _link(f"{release.uefi.value}: {release.uefi.text}", release.uefi.source)
    if release.tpm is not None:
        uefi += f"; {_link(release.tpm.text, release.tpm.source)}"
    return (
        f"`{release.os}`",
        _link(f"`{release.chipset.value}`", release.chipset.source),
        _link(release.boots_from.value, release.boots_from.source),
        _link(f"`{release.card.value}`", release.card.source),
        uefi,
    )


def _render_versions(release: WindowsRelease) -> str:
    rows = (
        (rated.range, rated.rating.value, _link(rated.text, rated.source))
        for rated in release.versions
    )
    return f"""
### {release.name}

| virtio-win | Rating | |
|---|---|---|
{_table(rows)}
"""


def _render_gaps() -> str:
    matrix = load_matrix()
    gaps = (
        (f"`{os}`", _link(fact.text, fact.source))
        for os, fact in {**matrix.same, **matrix.gaps}.items()
    )
    return f"""
## Windows without a row

| `os` | |
|---|---|
{_table(gaps)}
"""


if __name__ == "__main__":
    main()
