#!/bin/bash
# Succeeds when the role in this container answers on its port. The image has no HTTP client, and bash is one that suffices for a status line.
set -eu
exec 3<>"/dev/tcp/127.0.0.1/${1:-7433}"
printf 'GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n' >&3
read -r -t 2 status <&3
[[ $status == "HTTP/1.1 200 "* ]]
