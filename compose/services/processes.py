"""Processes and ports. A process is known by its id together with the time of its start, because ids are used again; nothing here looks
for one by its name."""

import contextlib
import os
import pathlib
import random
import signal
import socket
import time

# Until one that was asked to stop is killed.
STOP_SECS_MAX = 20


class Trouble(Exception):
    """What the caller is told, without a traceback."""


def stat(pid):
    """The fields of /proc/PID/stat from the state on; None when the process is gone or only waits to be reaped."""
    with contextlib.suppress(OSError):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return None if fields[0] in "ZX" else fields
    return None


def born(pid):
    """When the process started, in ticks; None when it is gone or only waits to be reaped."""
    fields = stat(pid)
    return int(fields[19]) if fields else None


def is_alive(process):
    return process is not None and process["born"] is not None and born(process["pid"]) == process["born"]


def started_by(process):
    """What the process has started, directly or not, and still runs. To be asked before it ends: afterwards nothing tells who they were."""
    if not is_alive(process):
        return []
    found = {int(entry.name): stat(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()}
    family = {process["pid"]}
    grown = True
    while grown:
        more = {pid for pid, fields in found.items() if fields and int(fields[1]) in family} - family
        family |= more
        grown = bool(more)
    return [{"pid": pid, "born": int(found[pid][19])} for pid in family - {process["pid"]}]


def end(*processes):
    """SIGTERM, a wait, SIGKILL, to all at the same time. A stopped process is continued first: it would not hear of either wait."""
    for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
        for process in filter(is_alive, processes):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process["pid"], number)
        if number != signal.SIGCONT:
            wait_until(lambda: not any(map(is_alive, processes)), STOP_SECS_MAX)


def wait_until(is_so, secs_max):
    until = time.monotonic() + secs_max
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def free_port():
    """Below the range from which the kernel serves outgoing connections: from there a client that waits for a killed server could take
    the server's own port, or connect to itself."""
    lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, lowest) if lowest > 11_000 else 0
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return probe.getsockname()[1]
