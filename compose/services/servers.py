"""What each server is: how it is set up, started and asked. It never decides when, and knows nothing of who asks."""

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import struct
import subprocess

from packages import binaries_of
from processes import Trouble, born, is_alive

# Becomes a program in another Debian; what is mounted for it is seen by nobody else and goes with it.
ENTER = (
    'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && root=$1 ids=$2 && shift 2 && '
    'exec chroot --userspec="$ids" "$root" "$@"'
)


class Server:
    """One server of one folder. `home` is where its files are, `inside` the same place as the server sees it."""

    def __init__(self, state):
        self.name, self.state = state["name"], state
        self.home, self.inside = pathlib.Path(state["home"]), state["inside"]
        self.port, self.secret, self.durable = state["ports"][0], state["secret"], state["durable"]

    def account(self):
        """User and group to run as; None without the right to choose."""
        if os.geteuid() != 0:
            return None
        if self.state["root"]:
            rows = (line.split(":") for line in pathlib.Path(self.state["root"], "etc/passwd").read_text().splitlines())
            return next((int(row[2]), int(row[3])) for row in rows if row[0] == self.name)
        entry = pwd.getpwnam(self.name)
        return entry.pw_uid, entry.pw_gid

    def command(self, arguments, variables=None):
        """How to call Popen: a bare environment, no inherited file, the package's user."""
        ids = self.account()
        options = {"stdin": subprocess.DEVNULL, "start_new_session": True, "cwd": "/"}
        options["env"] = {
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": f"{self.inside}/home",
            "LANG": "C.UTF-8",
            **(variables or {}),
        }
        if self.state["root"]:
            arguments = ["unshare", "--mount", "sh", "-c", ENTER, "sh", self.state["root"], f"{ids[0]}:{ids[1]}", *arguments]
        elif ids:
            options.update(user=ids[0], group=ids[1], extra_groups=[])
        return {"args": arguments, **options}

    def launch(self, arguments, variables=None, log="server.log"):
        with open(self.home / log, "ab") as out:
            process = subprocess.Popen(**self.command(arguments, variables), stdout=out, stderr=subprocess.STDOUT)
        return {"pid": process.pid, "born": born(process.pid)}

    def write(self, name, text, mode=0o600):
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(text)
        self.own(path)

    def folder(self, name):
        (self.home / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.own(self.home / name)

    def own(self, path):
        if self.account():
            os.chown(path, *self.account())

    def ask(self, question, answer):
        """Whether what listens on the port answers the question so."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(question)
            return connection.recv(64).startswith(answer)
        return False


class RabbitMQ(Server):
    def binaries(self):
        return "/usr/lib/rabbitmq/bin" if self.state["root"] else binaries_of("rabbitmq")

    def variables(self):
        listen, distribution, epmd = self.state["ports"]
        at = self.inside
        return {
            # Independent of the machine's name, which need not resolve.
            "RABBITMQ_NODENAME": "siding@localhost",
            "RABBITMQ_NODE_PORT": str(listen),
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{at}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{at}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{at}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{at}/data",
            "RABBITMQ_LOG_BASE": f"{at}/log",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{at}/generated",
            "RABBITMQ_PID_FILE": f"{at}/log/pid",
            # Makes the script `exec` the node, so that the id of its process is the node's.
            "RUNNING_UNDER_SYSTEMD": "true",
            # The distribution port listens everywhere unless told.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def prepare(self):
        for name in ("home", "data", "log", "generated"):
            self.folder(name)
        self.write("home/.erlang.cookie", self.secret, 0o400)
        self.write("advanced.config", "[].\n")
        self.write("enabled_plugins", "[].\n")
        # The quorum queues' log is kept in memory up to this size; the default of 512 MiB is a server's.
        self.write(
            "rabbitmq.conf",
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = true\nlog.file = false\ndisk_free_limit.absolute = 50MB\n"
            f"raft.wal_max_size_bytes = 64000000\ndefault_user = test\ndefault_pass = {self.secret}\n",
        )

    def start(self):
        # Our own epmd, in the foreground: the one that a node starts by itself listens everywhere and outlives it.
        if not is_alive(self.state.get("helper")):
            epmd = ["epmd", "-address", "127.0.0.1", "-port", str(self.state["ports"][2])]
            self.state["helper"] = self.launch(epmd, self.variables(), "epmd.log")
        return self.launch([f"{self.binaries()}/rabbitmq-server"], self.variables())

    def is_ready(self):
        return self.ask(b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00")

    def url(self):
        return f"amqp://test:{self.secret}@127.0.0.1:{self.port}/%2f"


class Postgres(Server):
    def prepare(self):
        self.folder("home")
        if (self.home / "data/PG_VERSION").exists():
            return
        shutil.rmtree(self.home / "data", ignore_errors=True)
        self.folder("data")
        self.write("password", self.secret)
        # In the clear over loopback: proving a password costs an unoptimised client more than all that a test asks.
        arguments = [f"{binaries_of('postgres')}/initdb", "-D", f"{self.inside}/data", "-U", "test", "--encoding=UTF8"]
        arguments += ["--locale=C.UTF-8", "--auth=password", f"--pwfile={self.inside}/password", "--no-sync"]
        done = subprocess.run(**self.command(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Trouble(f"initdb failed:\n{done.stdout}")

    def start(self):
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 300,
            "shared_buffers": "256MB",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        # It takes the id in its lock for a living process even when that one only waits to be reaped. Ours is dead: nobody else starts one here.
        (self.home / "data/postmaster.pid").unlink(missing_ok=True)
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return self.launch([f"{binaries_of('postgres')}/postgres", "-D", f"{self.inside}/data", *options])

    def is_ready(self):
        """A start-up message is answered with a question for the password, and with an error while the server still recovers."""
        body = struct.pack("!i", 196608) + b"user\0test\0database\0postgres\0\0"
        return self.ask(struct.pack("!i", len(body) + 4) + body, b"R")

    def url(self):
        return f"postgres://test:{self.secret}@127.0.0.1:{self.port}/postgres"


class Redis(Server):
    def prepare(self):
        self.folder("home")
        # A cache: nothing is written to disk, and when it is full it forgets.
        text = f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.secret}\ndir {self.inside}/home\nsave \"\"\nappendonly no\n"
        self.write("redis.conf", text + "maxmemory 64mb\nmaxmemory-policy allkeys-lru\n")

    def start(self):
        return self.launch([f"{binaries_of('redis')}/redis-server", f"{self.inside}/redis.conf"])

    def is_ready(self):
        return self.ask(f"AUTH {self.secret}\r\n".encode(), b"+OK")

    def url(self):
        return f"redis://default:{self.secret}@127.0.0.1:{self.port}/"


KINDS = {"rabbitmq": RabbitMQ, "postgres": Postgres, "redis": Redis}
