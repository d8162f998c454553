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


def born(pid):
    """When the process started, in ticks; None when it is gone or only waits to be reaped."""
    with contextlib.suppress(OSError):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return None if fields[0] in "ZX" else int(fields[19])
    return None


def is_alive(process):
    return process is not None and process["born"] is not None and born(process["pid"]) == process["born"]


def end(process):
    """SIGTERM, a wait, SIGKILL. A stopped process is continued first: it would not hear of either wait."""
    for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
        if is_alive(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process["pid"], number)
        if number != signal.SIGCONT:
            wait_until(lambda: not is_alive(process), STOP_SECS_MAX)


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
