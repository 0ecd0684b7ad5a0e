#!/usr/bin/env bash
# Installs edge-run as a service on Raspberry Pi OS Lite (64-bit), Debian 12 or newer, Ubuntu 24.04 or newer.
#
#   sudo deploy/install.sh [--camera NAME] [--check]
#
# --camera NAME  the service's name (default: door): edge-run@NAME, /etc/edge-run/NAME.conf
# --check        only say whether this machine is supported
#
# May be run again: it updates the program and keeps configuration, secrets and models.
set -euo pipefail

supported="edge-action needs a 64-bit Linux with glibc 2.28 or newer (64-bit Raspberry Pi OS, Debian 12, Ubuntu 24)"
refuse() { echo "error: $supported; found $1" >&2; exit 2; }
say() { echo "edge-run install: $*"; }

camera=door
check=no
while [ $# -gt 0 ]; do
    case "$1" in
        --camera) camera="${2:?--camera needs a name}"; shift 2 ;;
        --check) check=yes; shift ;;
        *) echo "error: unknown option $1; see the head of $0" >&2; exit 2 ;;
    esac
done
[[ "$camera" =~ ^[A-Za-z0-9_-]+$ ]] || { echo "error: --camera $camera: letters, digits, _ and - only" >&2; exit 2; }

# ---- is this a machine that can run it?
machine="${EDGE_MACHINE:-$(uname -m)}"
bits="${EDGE_BITS:-$(getconf LONG_BIT)}"
glibc="${EDGE_GLIBC:-$(getconf GNU_LIBC_VERSION 2> /dev/null || true)}"
case "$machine" in
    aarch64 | x86_64) ;;
    *) refuse "a $machine processor or kernel: install the 64-bit system image" ;;
esac
# a 64-bit kernel under a 32-bit system is what a 32-bit Raspberry Pi OS boots by default
[ "$bits" = 64 ] || refuse "a 32-bit system under a 64-bit kernel: install the 64-bit system image"
[[ "$glibc" == glibc\ * ]] || refuse "another C library than glibc: use a Debian-based system"
oldest="$(printf '%s\n2.28\n' "${glibc#glibc }" | sort -V | head -n 1)"
[ "$oldest" = 2.28 ] || refuse "$glibc: install a newer release of the system"
if [ "$check" = yes ]; then say "this machine is supported ($machine, $glibc)"; exit 0; fi

[ "$(id -u)" = 0 ] || { echo "error: run it as root: sudo $0" >&2; exit 2; }
command -v systemctl > /dev/null || { echo "error: no systemd here; see deploy/Dockerfile" >&2; exit 2; }
here="$(cd "$(dirname "$0")/.." && pwd)"
[ -f "$here/pyproject.toml" ] || { echo "error: run it from the repository: $here has no pyproject.toml" >&2; exit 2; }

say "system packages"
apt-get update -q
apt-get install -y -q --no-install-recommends python3 python3-venv libgomp1 v4l-utils
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || { echo "error: Python 3.11 or newer is needed, found $(python3 -V); use Raspberry Pi OS Bookworm or newer" >&2; exit 2; }

say "program in /opt/edge-run"
install -d /opt/edge-run/share "/opt/edge-run/models/$camera"
# built beside the old one and swapped at the end, so that a failed download leaves a working device;
# --system-site-packages: the Raspberry Pi's camera library (picamera2, libcamera) exists only as a system package
new="/opt/edge-run/venv-$(date +%Y%m%d%H%M%S)"
trap 'rm -rf "$new"' ERR
python3 -m venv --system-site-packages "$new"
"$new/bin/pip" install --quiet "$here[mqtt]"
"$new/bin/edge-run" --version
ln -sfn "$new" /opt/edge-run/venv.new
mv -T /opt/edge-run/venv.new /opt/edge-run/venv
# the one before stays for a roll-back: ln -sfn venv-DATE /opt/edge-run/venv
ls -d /opt/edge-run/venv-* | sort | head -n -2 | xargs -r rm -rf
cp "$here/docs/deploy.md" /opt/edge-run/share/

say "service edge-run@$camera"
install -d -m 755 /etc/edge-run
install -d -m 700 /etc/edge-run/secrets
if [ ! -e /etc/edge-run/secrets/SERVE_TOKEN ]; then
    (umask 077; head -c 24 /dev/urandom | base64 | tr '+/' '-_' > /etc/edge-run/secrets/SERVE_TOKEN)
fi
[ -e "/etc/edge-run/$camera.conf" ] \
    || sed "s/door/$camera/g" "$here/deploy/door.conf.example" > "/etc/edge-run/$camera.conf"
install -m 644 "$here/deploy/edge-run@.service" /etc/systemd/system/
systemctl daemon-reload
systemctl enable "edge-run@$camera"

say "done. Put a model into /opt/edge-run/models/$camera, look over /etc/edge-run/$camera.conf, then:"
say "  systemctl start edge-run@$camera && journalctl -fu edge-run@$camera"
say "  page: --serve 0.0.0.0:8080, any user name, password: the content of /etc/edge-run/secrets/SERVE_TOKEN"
