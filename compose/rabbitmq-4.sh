#!/bin/sh
# Puts another Debian, with the RabbitMQ of its own, into the cache, so that the tests can run against a version that this machine's Debian
# does not have:
#
#     sudo compose/rabbitmq-4.sh              Debian testing (RabbitMQ 4.3); `trixie` as argument: stable (4.0). About 400 MB, a minute
#     eval "$(sudo compose/rabbitmq-4.sh)"    sets SIDING_TEST_RABBITMQ_ROOT; then `make test`, `make services` as ever
#
# It needs root, as do the servers that run from there: they are started in that folder as their whole world (chroot), in a mount
# namespace of their own, so that nothing is left mounted when they end. Packages come from the mirror that apt is configured with, or
# from $SIDING_DEBIAN_MIRROR, and are checked with Debian's keys. The folder is made once and may be removed at any time.
set -eu

suite=${1:-forky}
case $suite in
# debootstrap knows no script for suites younger than itself; `sid` is the one that it would use.
trixie | forky) script=sid ;;
*)
    echo "usage: compose/rabbitmq-4.sh [forky|trixie]" >&2
    exit 64
    ;;
esac
if [ "$(id -u)" != 0 ]; then
    echo "siding: another Debian can only be installed and run as root" >&2
    exit 1
fi
cache=${SIDING_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/siding}
root=$cache/rabbitmq-$suite

if [ ! -e "$root/complete" ]; then
    if ! command -v debootstrap >/dev/null; then
        {
            apt-get -qq -o DPkg::Lock::Timeout=300 update
            DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends debootstrap
        } >&2
    fi
    mirror=${SIDING_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)}
    if [ -z "$mirror" ]; then
        echo "siding: apt knows no mirror of Debian; name one: SIDING_DEBIAN_MIRROR=URL" >&2
        exit 1
    fi
    # What an interrupted try has left would be taken for installed.
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include=rabbitmq-server "$suite" "$root" "$mirror" "$script" >&2
    # Erlang's epmd asks for localhost, and a minimal Debian does not say where that is.
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    # apt's own downloads are not needed again.
    rm -rf "$root"/var/cache/apt/archives/*.deb
    : >"$root/complete"
fi
echo "export SIDING_TEST_RABBITMQ_ROOT='$root'"
