#!/bin/sh
# After an installation (deb: configure without a version, rpm: 1) the service is enabled,
# and starts with the machine or when it is told to: its policy wants to be read first.
# After an upgrade a guard that runs goes on with the binary it was started with.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
if [ "$1" = 1 ] || { [ "$1" = configure ] && [ -z "$2" ]; }; then
  systemctl enable pushguard.service
fi
