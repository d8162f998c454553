"""Private RabbitMQ, PostgreSQL and Redis for tests, on free loopback ports, from Debian's packages: no container, no system daemon.

    python3 compose/services up [--durable]            start all three for whoever comes (`make services`); prints their variables
    python3 compose/services down                      stop them and drop their data
    python3 compose/services status                    print their variables when all three answer, else fail
    python3 compose/services run [--durable] -- CMD…   CMD with the variables set: given ones are kept, servers of `up` are used, and what
                                                       is missing is started for CMD alone and is gone when CMD ends, however it ends
    python3 compose/services start NAME --dir D [--durable] [--owner PID]
                                                       one server for a test that kills it; prints URL= and PID=. Again with the same D:
                                                       the same port, data and URL. It is dropped when its owner is gone
    python3 compose/services stop --dir D [--remove]   stop it; --remove drops its data as well
    python3 compose/services ctl --dir D [--file F] -- ARGS…
                                                       rabbitmqctl, or psql, against it; F is what they read

NAME is rabbitmq, postgres or redis. As root, missing packages are installed (without starting their daemons) and each server runs as its
package's user; anybody else is told the command. Data are for one run of tests, so nothing is forced to disk unless --durable asks for it.
SIDING_TEST_RABBITMQ_ROOT names a folder with another Debian from which RabbitMQ runs instead (compose/rabbitmq-4.sh makes one).
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import json
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from packages import NAMES, RABBITMQ_ROOT, VARIABLES, binaries_of, install
from processes import STOP_SECS_MAX, Trouble, born, end, free_port, is_alive, started_by, wait_until
from servers import KINDS

# Until a server must answer. RabbitMQ's start is bound by the processor: 6 s on an idle machine, 19 s were seen on a busy one.
START_SECS_MAX = 180
# A port can be taken by somebody else between the look and the server's own bind, and what a killed server leaves behind takes a moment to go.
TRIES, TRY_SECS = 3, 1
WATCH_SECS = 1
LOG_LINES_SHOWN = 30


class Instance:
    """One server in one folder: what is known of it is in `instance.json`, and only one process at a time changes it."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder).absolute()
        self.file = self.folder / "instance.json"

    @contextlib.contextmanager
    def held(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self):
        """The state, or None when there is none."""
        try:
            return json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def keep(self, state):
        fresh = self.file.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(state, file, indent=1)
        fresh.replace(self.file)

    def server(self):
        state = self.read()
        return KINDS[state["name"]](state) if state else None

    def answers(self):
        """Whether it can be used as it is."""
        server = self.server()
        is_wanted = server is not None and server.state["root"] == root_of(server.name)
        return is_wanted and is_alive(server.state.get("server")) and server.is_ready()

    def start(self, name, durable):
        """Starts it, or finds it running; returns the server."""
        with self.held():
            state = self.read()
            known = state is not None
            if known and state["root"] != root_of(name):
                raise Trouble(f"{name} was started from another SIDING_TEST_RABBITMQ_ROOT. Stop it first: make services-stop")
            for _ in range(TRIES):
                state = state or self.new_state(name, durable)
                server = KINDS[state["name"]](state)
                if is_alive(state.get("server")) or self.launched(server):
                    if wait_until(lambda: server.is_ready() or not is_alive(state["server"]), START_SECS_MAX) and server.is_ready():
                        return server
                end(state.get("server"))
                log = (server.home / "server.log").read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
                if not known:
                    self.drop(state)
                    state = None
                time.sleep(TRY_SECS)
            raise Trouble(f"{name} does not start. Its log ends with:\n" + "\n".join(log))

    def launched(self, server):
        server.prepare()
        server.state["server"] = server.start()
        self.keep(server.state)
        return True

    def new_state(self, name, durable):
        root = root_of(name)
        state = {"name": name, "durable": durable, "root": root, "secret": secrets.token_hex(16)}
        state["ports"] = [free_port() for _ in range(3 if name == "rabbitmq" else 1)]
        state["home"], state["inside"] = self.new_home(root)
        self.keep(state)
        return state

    def new_home(self, root):
        """Where the server's files go, and the same place as the server sees it. Root's servers run as other users, who may not enter a
        folder of root's; those files go where everybody may."""
        if root:
            home = pathlib.Path(tempfile.mkdtemp(prefix="siding-", dir=pathlib.Path(root, "var/tmp")))
        elif os.geteuid() == 0:
            home = pathlib.Path(tempfile.mkdtemp(prefix="siding-", dir="/var/tmp"))
        else:
            home = self.folder / "home"
            home.mkdir(exist_ok=True)
        home.chmod(0o711)
        return str(home), f"/{home.relative_to(root)}" if root else str(home)

    def stop(self, remove):
        with self.held():
            state = self.read()
            if state:
                end(state.get("server"))
                end(state.get("helper"))
                if remove:
                    self.drop(state)
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def drop(self, state):
        end(state.get("helper"))
        shutil.rmtree(state["home"], ignore_errors=True)
        self.file.unlink(missing_ok=True)


def root_of(name):
    """The Debian that a new server of this name runs from; empty for this machine's own."""
    return RABBITMQ_ROOT if name == "rabbitmq" else ""


def cache():
    named = os.environ.get("SIDING_CACHE")
    return pathlib.Path(named or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "siding"))


def shared():
    """The folder of the servers of `up`, and one instance for each."""
    folder = cache() / "services"
    return folder, {name: Instance(folder / name) for name in NAMES}


def start_all(instances, durable):
    """Starts these at the same time; returns their variables."""
    install(instances)
    with concurrent.futures.ThreadPoolExecutor(len(NAMES)) as pool:
        started = {name: pool.submit(instance.start, name, durable) for name, instance in instances.items()}
    return {VARIABLES[name]: future.result().url() for name, future in started.items()}


def lines_of(variables):
    return "".join(f"{name}={value}\n" for name, value in variables.items())


def up(arguments):
    folder, instances = shared()
    variables = start_all(instances, arguments.durable)
    fresh = folder / "env.new"
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(lines_of(variables))
    fresh.replace(folder / "env")
    print(lines_of(variables), end="")
    print(f"siding: they run until `make services-stop`; logs and variables are under {folder}", file=sys.stderr)


def down(_):
    folder, instances = shared()
    (folder / "env").unlink(missing_ok=True)
    for instance in instances.values():
        instance.stop(remove=True)


def status(_):
    _, instances = shared()
    answering = {name: instance.server() for name, instance in instances.items() if instance.answers()}
    print(lines_of({VARIABLES[name]: server.url() for name, server in answering.items()}), end="")
    missing = [name for name in NAMES if name not in answering]
    if missing:
        raise Trouble(f"{', '.join(missing)}: not running. Start: make services")


def run(arguments):
    if not arguments.command:
        raise Trouble("run which command? compose/services run -- CMD…")
    variables = {name: os.environ[name] for name in VARIABLES.values() if os.environ.get(name)}
    wanted = [name for name in NAMES if VARIABLES[name] not in variables]
    _, instances = shared()
    found = {VARIABLES[name]: instances[name].server().url() for name in wanted if instances[name].answers()}
    missing = [name for name in wanted if VARIABLES[name] not in found]
    own = {name: Instance(tempfile.mkdtemp(prefix="siding-services-")) for name in missing}
    # Whoever ends us with a signal ends the servers too: as an exception, it passes through `finally`.
    signal.signal(signal.SIGTERM, leave)
    try:
        for instance in own.values():
            watch_from_now(instance, os.getpid())
        variables |= found | start_all(own, arguments.durable)
        return outcome(arguments.command, {**os.environ, **variables})
    finally:
        for instance in own.values():
            instance.stop(remove=True)


def leave(*_):
    sys.exit(128 + signal.SIGTERM)


def outcome(command, environment):
    """Runs the command to its end. When we are asked to end, it is asked first, so that it can end its own; what it leaves running (a shell ends
    without asking its children) is ended after it. No process group does this: those that cargo-nextest makes for its tests are not in ours, and a
    command in a group of its own could not read the terminal. Ctrl-C has reached them all already."""
    # An exception between the start and `try` would leave the command behind.
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    process = subprocess.Popen(command, env=environment)
    try:
        known = {"pid": process.pid, "born": born(process.pid)}
        signal.signal(signal.SIGTERM, leave)
        if told:
            leave()
        code = process.wait()
        # A command that a signal has ended is reported as shells do.
        return code if code >= 0 else 128 - code
    except KeyboardInterrupt:
        wait_until(lambda: process.poll() is not None, STOP_SECS_MAX)
        raise
    finally:
        started = started_by(known)
        end(known)
        end(*started)


def start(arguments):
    install([arguments.name])
    instance = Instance(arguments.dir)
    # The watcher of the first start goes on over every end and start that follows.
    if arguments.owner and instance.read() is None:
        watch_from_now(instance, arguments.owner)
    server = instance.start(arguments.name, arguments.durable)
    print(f"URL={server.url()}\nPID={server.state['server']['pid']}\nPORT={server.port}")


def stop(arguments):
    Instance(arguments.dir).stop(arguments.remove)


def ctl(arguments):
    server = Instance(arguments.dir).server()
    if server is None or server.name == "redis":
        raise Trouble(f"neither RabbitMQ nor Postgres was started in {arguments.dir}")
    if server.name == "postgres":
        reads = [f"--file={arguments.file}"] if arguments.file else []
        psql = [f"{binaries_of('postgres')}/psql", "--no-psqlrc", "--quiet", *reads, server.url(), *arguments.command]
        return subprocess.run(psql, stdin=subprocess.DEVNULL).returncode
    reads = []
    if arguments.file:
        # Where its user may read it, and from its own Debian. (On standard input, 4.0 waits for ever.)
        server.write("input", pathlib.Path(arguments.file).read_text(encoding="utf-8"))
        reads = [f"{server.inside}/input"]
    rabbitmqctl = [f"{server.binaries()}/rabbitmqctl", *arguments.command, *reads]
    return subprocess.run(**server.command(rabbitmqctl, server.variables())).returncode


def watch_from_now(instance, owner):
    """Sees to it that the server does not outlive its owner, even one that is killed: a process of its own waits for that."""
    instance.folder.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, os.path.dirname(os.path.abspath(__file__)), "watch", "--dir", str(instance.folder), "--owner", str(owner)]
    nowhere = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen(arguments, start_new_session=True, **nowhere)


def watch(arguments):
    instance = Instance(arguments.dir)
    owner = {"pid": arguments.owner, "born": born(arguments.owner)}
    while is_alive(owner) and instance.folder.exists():
        time.sleep(WATCH_SECS)
    if instance.folder.exists():
        instance.stop(remove=True)


def parsed():
    parser = argparse.ArgumentParser(prog="compose/services", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    options = {
        "name": {"choices": NAMES},
        "--dir": {"required": True},
        "--owner": {"type": int},
        "--durable": {"action": "store_true"},
        "--remove": {"action": "store_true"},
        "--file": {},
        "command": {"nargs": "*"},
    }
    takes = {
        up: ["--durable"],
        down: [],
        status: [],
        run: ["--durable", "command"],
        start: ["name", "--dir", "--durable", "--owner"],
        stop: ["--dir", "--remove"],
        ctl: ["--dir", "--file", "command"],
        watch: ["--dir", "--owner"],
    }
    for verb, names in takes.items():
        one = verbs.add_parser(verb.__name__)
        one.set_defaults(call=verb)
        for name in names:
            one.add_argument(name, **options[name])
    return parser.parse_args()


if __name__ == "__main__":
    try:
        called = parsed()
        sys.exit(called.call(called))
    except Trouble as trouble:
        sys.exit(f"siding: {trouble}")
    except KeyboardInterrupt:
        sys.exit(130)
