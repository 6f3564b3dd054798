#!/bin/sh
# Before it is removed for good (deb: remove, rpm: 0), not before an upgrade.
set -e
if [ "$1" != remove ] && [ "$1" != 0 ]; then exit 0; fi
[ -d /run/systemd/system ] || exit 0
systemctl disable --now pushguard.service
