#!/usr/bin/env python3
"""Makes the passwords of compose/compose.yaml and the files that carry them; there are no default ones.

    python3 compose/passwords.py [--folder DIR]      DIR is $SIDING_SECRETS, else compose/secrets

Files that are there are kept, and a file that is missing is made from those: to change a password, docs/deploy.md. The folder may be entered by its
owner only; the files in it can be read by everybody who gets that far, because each container reads them as its own user.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import secrets

HERE = pathlib.Path(__file__).resolve().parent


def password_hash(password):
    """RabbitMQ's: four random bytes, then SHA-256 of those and the password, in base64."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def definitions(password):
    text = json.loads((HERE / "rabbitmq/definitions.json").read_text(encoding="utf-8"))
    text["users"][0]["password_hash"] = password_hash(password)
    return json.dumps(text, indent=1)


class Folder:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default=os.environ.get("SIDING_SECRETS") or HERE / "secrets")
    folder = Folder(parser.parse_args().folder)
    folder.file("postgres_admin_password", password)
    owner = folder.file("postgres_owner_password", password)
    app = folder.file("postgres_app_password", password)
    folder.file("migrate_store_url", lambda: f"postgres://siding_owner:{owner}@postgres:5432/siding")
    folder.file("store_url", lambda: f"postgres://siding_app:{app}@postgres:5432/siding")
    broker = folder.file("broker_url", lambda: f"amqp://siding:{password()}@rabbitmq:5672/siding")
    folder.file("rabbitmq_definitions", lambda: definitions(broker.split(":")[2].split("@")[0]))
    cache = folder.file("cache_url", lambda: f"redis://default:{password()}@redis:6379/0")
    folder.file("redis_password_conf", lambda: f"requirepass {cache.split(':')[2].split('@')[0]}\n")


if __name__ == "__main__":
    main()
