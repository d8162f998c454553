#!/usr/bin/env python3
"""Makes the passwords of compose/compose.yaml and the files that carry them; there are no default ones.

    python3 compose/passwords.py [--folder DIR]      DIR is $SIDING_SECRETS, else compose/secrets

Files that are there are kept, and a file that is missing is made from those: to change a password, docs/deploy.md. Two files that carry one password
must agree. The folder may be entered by its owner only, and is refused otherwise: the files in it can be read by everybody who gets that far, because
each container reads them as its own user.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import secrets
import stat
import sys

HERE = pathlib.Path(__file__).resolve().parent


def password_hash(password):
    """RabbitMQ's: four random bytes, then SHA-256 of those and the password, in base64."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def definitions(password):
    text = json.loads((HERE / "rabbitmq/definitions.json").read_text(encoding="utf-8"))
    text["users"][0]["password_hash"] = password_hash(password)
    return json.dumps(text, indent=1)


class Trouble(Exception):
    """What the caller is told, without a traceback."""


class Folder:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        # This mode is for a folder that is made here; one that somebody else has made keeps its own, and is somebody else's to change.
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            raise Trouble(f"{self.path} may be entered by others (mode {mode:03o}). Close it: chmod 700 {self.path}")

    def file(self, name, make):
        """The file's text; made if it is missing."""
        path = self.path / name
        if not path.exists():
            # Whole or not at all.
            fresh = self.path / f"{name}.new"
            fresh.unlink(missing_ok=True)
            fresh.write_text(make(), encoding="utf-8")
            fresh.chmod(0o444)
            fresh.rename(path)
            print(f"made {path}")
        return path.read_text(encoding="utf-8")


def password():
    return secrets.token_urlsafe(24)


def password_of(url):
    return url.split("://", 1)[1].rsplit("@", 1)[0].split(":", 1)[1]


def carries(definitions_text, password):
    """Whether RabbitMQ's definitions are for this password."""
    digest = base64.b64decode(json.loads(definitions_text)["users"][0]["password_hash"])
    return digest[4:] == hashlib.sha256(digest[:4] + password.encode()).digest()


def make(folder):
    folder.file("postgres_admin_password", password)
    owner = folder.file("postgres_owner_password", password)
    app = folder.file("postgres_app_password", password)
    migrate_store = folder.file("migrate_store_url", lambda: f"postgres://siding_owner:{owner}@postgres:5432/siding")
    store = folder.file("store_url", lambda: f"postgres://siding_app:{app}@postgres:5432/siding")
    broker = folder.file("broker_url", lambda: f"amqp://siding:{password()}@rabbitmq:5672/siding")
    rabbitmq = folder.file("rabbitmq_definitions", lambda: definitions(password_of(broker)))
    cache = folder.file("cache_url", lambda: f"redis://default:{password()}@redis:6379/0")
    redis = folder.file("redis_password_conf", lambda: f"requirepass {password_of(cache)}\n")
    pairs = [
        ("postgres_owner_password", "migrate_store_url", password_of(migrate_store) == owner),
        ("postgres_app_password", "store_url", password_of(store) == app),
        ("broker_url", "rabbitmq_definitions", carries(rabbitmq, password_of(broker))),
        ("cache_url", "redis_password_conf", redis.split() == ["requirepass", password_of(cache)]),
    ]
    stale = {second: first for first, second, agrees in pairs if not agrees}
    if stale:
        told = "; ".join(f"{second} has another password than {first}" for second, first in stale.items())
        raise Trouble(f"{told}. Remove {' and '.join(stale)}, and run this again: what is missing is made from what is there")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default=os.environ.get("SIDING_SECRETS") or HERE / "secrets")
    try:
        make(Folder(parser.parse_args().folder))
    except Trouble as trouble:
        sys.exit(f"siding: {trouble}")


if __name__ == "__main__":
    main()
