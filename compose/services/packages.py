"""Where the servers' programs are, and how they get there: Debian's packages, installed as root and named to anybody else."""

import glob
import os
import pathlib
import shutil
import subprocess
import sys

from processes import Trouble

NAMES = ("rabbitmq", "postgres", "redis")
PACKAGES = {"rabbitmq": "rabbitmq-server", "postgres": "postgresql", "redis": "redis-server"}
# What names a server to the tests, whoever started it.
VARIABLES = {"rabbitmq": "SIDING_TEST_AMQP_URL", "postgres": "SIDING_TEST_DATABASE_URL", "redis": "SIDING_TEST_REDIS_URL"}
RABBITMQ_ROOT = os.environ.get("SIDING_TEST_RABBITMQ_ROOT", "")


def binaries_of(name):
    """The folder of the server's programs, or None. Debian's /usr/sbin/rabbitmq-* only change the user, and with it the cookie."""
    if name == "rabbitmq" and RABBITMQ_ROOT:
        if os.geteuid() != 0 or not os.path.exists(f"{RABBITMQ_ROOT}/usr/lib/rabbitmq/bin/rabbitmq-server"):
            raise Trouble(f"no RabbitMQ can be run from {RABBITMQ_ROOT}. As root: compose/rabbitmq-4.sh")
        return "/usr/lib/rabbitmq/bin"
    if name == "rabbitmq" and os.path.exists("/usr/lib/rabbitmq/bin/rabbitmq-server"):
        return "/usr/lib/rabbitmq/bin"
    if name == "postgres":
        versions = [int(path.split("/")[4]) for path in glob.glob("/usr/lib/postgresql/[0-9]*/bin/initdb")]
        if versions:
            return f"/usr/lib/postgresql/{max(versions)}/bin"
    program = {"rabbitmq": "rabbitmq-server", "postgres": "initdb", "redis": "redis-server"}[name]
    found = shutil.which(program)
    return os.path.dirname(os.path.realpath(found)) if found else None


def install(names):
    """Sees to it that the programs are there."""
    missing = [PACKAGES[name] for name in names if binaries_of(name) is None]
    if not missing:
        return
    command = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sudo = "" if os.geteuid() == 0 else " as root"
        raise Trouble(f"{', '.join(missing)} missing. Get it{sudo}: {command}\n(or name servers of your own: {', '.join(VARIABLES.values())})")
    print(f"siding: installing {', '.join(missing)}", file=sys.stderr)
    # A package starts its daemon unless this file says no (invoke-rc.d); one that is there already is somebody's own decision.
    policy = pathlib.Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    try:
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
            policy.chmod(0o755)
        quiet = ["-qq", "-o", "DPkg::Lock::Timeout=300"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
            done = subprocess.run(
                ["apt-get", *quiet, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if done.returncode != 0:
                raise Trouble(f"`apt-get {arguments[0]}` failed:\n{done.stdout}\nBy hand: {command}")
    finally:
        if ours:
            policy.unlink(missing_ok=True)
