#!/bin/sh
# Installs Debian's chromium for the browser tests, as root or through sudo when that asks for no password.
set -u
root=""
[ "$(id -u)" -eq 0 ] || root="sudo -n"
if command -v apt-get >/dev/null && $root true 2>/dev/null; then
    echo "Installing chromium for the browser tests ..."
    log=$(mktemp)
    apt="$root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120"
    if { $apt update && $apt install -y --no-install-recommends chromium; } >"$log" 2>&1 </dev/null; then
        rm -f "$log"
        exit 0
    fi
    tail -n 20 "$log" >&2
    rm -f "$log"
fi
echo "The browser tests need chromium, which could not be installed here; install it so that \`chromium\` is on the PATH." >&2
