"""What is run in a guest to have a file there that only this measurement uses. Pure.

The file is made under a name of its own (mktemp: O_EXCL), opened, and its name removed before
anything is written. A shell keeps it open. It ends, and with it the file, as soon as it is killed,
the agent that started it ends, or nobody has sent it a signal for a while; a guest that goes off
frees the file when its file system is mounted next, or checks it.
"""

from __future__ import annotations

from typing import Sequence, Tuple

from reconciler.core.units import KIB

BEAT = 60  # seconds without a signal after which the keeper ends
FILL = 120.0  # seconds that making the file may take, and one for each MiB
SECTOR = 512  # bytes, in which Linux counts the size of a disk
KEEPER_STATUS = 3  # with which the script ends when it refuses
NAME = "virt-reconciler-bench"
FOLDER = "/var/tmp"  # noqa: S108 - the default, and mktemp makes the file

NOT_FOUND = 127  # the shell's exit status for a program that is not there
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEEPER = (
    "left=$1; trap 'left=$1' USR1; "
    'while [ "$left" -gt 0 ] && kill -0 "$2" 2>/dev/null; do sleep 1; left=$((left-1)); done'
)
_SCRIPT = r"""
set -eu
folder=$1 mib=$2 beat=$3 name=$4 keeper=$5 agent=$PPID
refuse() { echo "$*" >&2; exit 3; }
[ -d "$folder" ] || refuse "there is no folder $folder in the guest; give another: --guest-path"
real=$(cd -P "$folder" && pwd -P)
[ "$real" = "$folder" ] || refuse "$folder leads through a link to $real; give --guest-path $real"
for other in /proc/[0-9]*; do
    if tr '\0' '\n' < "$other/cmdline" 2>/dev/null | grep -qx "$name"; then
        [ "$other" = "/proc/$$" ] || kill -9 "${other#/proc/}" 2>/dev/null || :
    fi
done
set -- $(stat -f -c '%a %b %S' "$folder")
free=$(($1 * $3 / 1048576)) kept=$(($2 * $3 / 20971520))
[ "$2" -eq 0 ] || [ $((mib + kept)) -le "$free" ] ||
    refuse "a file of ${mib}MiB does not fit into $folder: ${free}MiB are free," \
        "of which ${kept}MiB stay free; give a smaller --size"
file=$(mktemp "$folder/.$name-XXXXXX") ||
    refuse "$folder cannot be written; give another: --guest-path"
exec 9<>"$file"
rm -f "$file"
dd if=/dev/urandom bs=1048576 count="$mib" conv=fsync >&9 2>/dev/null ||
    refuse "$folder became full while the file was made; give a smaller --size"
sh -c "$keeper" "$name" "$beat" "$agent" </dev/null >/dev/null 2>&1 &
echo $!
"""


def make_file_command(folder: str, size: int) -> Tuple[str, ...]:
    """Return the command that makes the file and prints the process that keeps it."""
    values = (folder, str(size // KIB**2), str(BEAT), NAME, _KEEPER)
    return ("sh", "-c", _SCRIPT, f"{NAME}-maker", *values)


DISK_FOLDER = "/run/virt-reconciler-bench"  # where a blank disk is mounted
_DISK_SCRIPT = r"""
set -eu
sectors=$1 folder=$2 left=30
refuse() { echo "$*" >&2; exit 3; }
find_disks() {
    for size in /sys/block/*/size; do
        read -r there < "$size"
        [ "$there" != "$sectors" ] || echo "$size" | cut -d/ -f4
    done
}
until [ -n "$(find_disks)" ]; do
    left=$((left-1))
    [ "$left" -gt 0 ] ||
        refuse "the guest does not see the disk; does its kernel have a driver for the bus?"
    sleep 1
done
set -- $(find_disks)
[ $# -eq 1 ] ||
    refuse "$# disks of the guest have the same size: $*; give the measured one another size"
device=/dev/$1
if command -v mkfs.ext4 >/dev/null; then
    words=$(mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$device" 2>&1)
else
    words=$(mke2fs -F "$device" 2>&1)
fi || refuse "no file system could be made on $device: $words"
mkdir -p "$folder"
words=$(mount -t ext4 "$device" "$folder" 2>&1) || refuse "$device could not be mounted: $words"
"""


def make_disk_command(size: int) -> Tuple[str, ...]:
    """Return the command that makes a file system on the blank disk of that size, and mounts it.

    Only for a machine that is thrown away: what is on the disk is lost.
    """
    return ("sh", "-c", _DISK_SCRIPT, "sh", str(size // SECTOR), DISK_FOLDER)


_SERVER_SCRIPT = r"""
port=$1 limit=$2 name=$3 hex=$(printf %04X "$1")
listens() { grep -qs ":$hex 0*:0000 0A" /proc/net/tcp /proc/net/tcp6; }
for other in /proc/[0-9]*; do
    if tr '\0' '\n' < "$other/cmdline" 2>/dev/null | grep -qx "$name"; then
        [ "$other" = "/proc/$$" ] || kill "${other#/proc/}" 2>/dev/null || :
    fi
done
left=5
while listens; do
    left=$((left-1))
    [ "$left" -gt 0 ] || { echo "port $port is in use in the guest" >&2; exit 3; }
    sleep 1
done
timeout "$limit" iperf3 --server --one-off --port "$port" &
server=$!
trap 'kill "$server"; exit 0' TERM
wait "$server"
"""
_LISTEN_SCRIPT = r"""
hex=$(printf %04X "$1") server=$2 left=60
until grep -qs ":$hex 0*:0000 0A" /proc/net/tcp /proc/net/tcp6; do
    left=$((left-1))
    [ "$left" -gt 0 ] || exit 1
    kill -0 "$server" 2>/dev/null || exit 1
    sleep 0.5
done
"""


def make_server_command(port: int, limit: int) -> Tuple[str, ...]:
    """Return the command that serves one client of iperf3.

    It ends with its client, at SIGTERM, after the limit, and when the next one is started.
    """
    return ("sh", "-c", _SERVER_SCRIPT, "sh", str(port), str(limit), f"{NAME}-server")


def make_listen_command(port: int, server: int) -> Tuple[str, ...]:
    """Return the command that waits until somebody listens at the port, or the server has ended."""
    return ("sh", "-c", _LISTEN_SCRIPT, "sh", str(port), str(server))


def wrap_command(command: Sequence[str]) -> Tuple[str, ...]:
    """Return a command that finds the program where a person at the guest would."""
    return ("/bin/sh", "-c", f'PATH={_PATH}; export PATH; LC_ALL=C exec "$@"', NAME, *command)


def explain_unreachable(name: str, state: str) -> str:
    """Say that the agent cannot be asked, and what to do."""
    return (
        f"guest {name}: its agent cannot be asked ({state}); install qemu-guest-agent in the guest "
        "and set guestAgent: true in its manifest"
    )


def explain_blocked(name: str) -> str:
    """Say that the agent runs no programs, and what to do."""
    return (
        f"guest {name}: its agent does not run programs (guest-exec). In the guest, take "
        "guest-exec and guest-exec-status out of the blocked RPCs (or add them to the allowed "
        "ones) in /etc/sysconfig/qemu-ga, then systemctl restart qemu-guest-agent. Or log in and "
        "run fio there by hand"
    )
