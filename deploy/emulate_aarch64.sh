#!/usr/bin/env bash
# Runs edge-run on an emulated Arm Cortex-A76 (Raspberry Pi 5) with the wheels that a real one would install.
#
#   deploy/emulate_aarch64.sh [--root DIR]                      is it the same as here? (exit code 1 where it is not)
#   deploy/emulate_aarch64.sh [--root DIR] edge-run-options     edge-run alone, as the emulated machine runs it
#
# Without options the packaged models (fp32 and int8) compute the same pictures here and there, and `edge-run --demo`
# runs on both; deploy/parity.py says how far they part. It shows that the arm64 wheels install, import and compute the
# same; it says nothing about speed (emulation is 20-50 times slower).
#
# Needs: apt-get install debootstrap qemu-user-static; about 1 GB in DIR (default: build/aarch64); network; for the
# comparison a Python ($PYTHON, default python3) that has the runtime installed. Neither root nor binfmt is needed: the
# foreign Debian is only unpacked, and qemu runs its Python directly.
set -euo pipefail

here="$(cd "$(dirname "$0")/.." && pwd)"
root="$here/build/aarch64"
if [ "${1:-}" = "--root" ]; then root="$2"; shift 2; fi
python="${PYTHON:-python3}"

for program in debootstrap qemu-aarch64-static dpkg-deb; do
    command -v "$program" > /dev/null || { echo "missing $program: apt-get install debootstrap qemu-user-static" >&2; exit 2; }
done

debian="$root/debian"
packages="$debian/opt/packages"

if [ ! -e "$root/.debian" ]; then
    rm -rf "$debian"
    # the first stage downloads; the second would run Arm programs and need root and binfmt, so the files are unpacked here
    fakeroot=$([ "$(id -u)" = 0 ] || command -v fakeroot || true)
    $fakeroot debootstrap --foreign --arch=arm64 --variant=minbase \
        --include=python3,libgomp1,libstdc++6 bookworm "$debian" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
    for archive in "$debian"/var/cache/apt/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$archive" | tar -x -C "$debian" --keep-directory-symlink
    done
    rm -rf "$debian"/var/cache/apt/archives
    for link in bin lib sbin; do  # a merged /usr, which the second stage would have made
        [ -e "$debian/$link" ] || ln -s "usr/$link" "$debian/$link"
    done
    # onnxruntime reads the processor's features from here, and crashes on an x86 listing; in a container debootstrap
    # has made it a link to the machine's own
    [ ! -L "$debian/proc" ] || rm "$debian/proc"
    mkdir -p "$debian/proc"
    for core in 0 1 2 3; do
        printf 'processor\t: %d\nBogoMIPS\t: 108.00\n' $core
        printf 'Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n'
        printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n'
    done > "$debian/proc/cpuinfo"
    touch "$root/.debian"
fi

if [ ! -e "$root/.wheels" ]; then
    rm -rf "$packages"
    # what `pip install edge-action[mqtt]` resolves on Raspberry Pi OS (Bookworm, Python 3.11, glibc 2.36)
    requirements="$("$python" - "$here/pyproject.toml" <<'PYTHON'
import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"]["mqtt"]))
PYTHON
)"
    echo "$requirements" > "$root/requirements.txt"
    platforms=()
    for glibc in 35 34 31 28 27 26 24 17; do platforms+=(--platform "manylinux_2_${glibc}_aarch64"); done
    "$python" -m pip install --target "$packages" --python-version 3.11 --implementation cp --only-binary=:all: \
        "${platforms[@]}" --platform manylinux2014_aarch64 -r "$root/requirements.txt"
    touch "$root/.wheels"
fi

arm() {
    # qemu looks absolute paths up under -L first, so the program lives in its own Debian
    qemu-aarch64-static -cpu cortex-a76 -L "$debian" -E PYTHONPATH="$here:$packages" -E PYTHONDONTWRITEBYTECODE=1 \
        -E LD_LIBRARY_PATH="$debian/usr/lib/aarch64-linux-gnu" "$debian/usr/bin/python3.11" "$@"
}

arm -c 'import platform, onnxruntime, numpy, cv2
print("emulated:", platform.machine(), "| onnxruntime", onnxruntime.__version__, "| numpy", numpy.__version__, "| OpenCV", cv2.__version__)' >&2
if [ $# -gt 0 ]; then
    arm -m edge_runtime.cli.run "$@"
    exit
fi

here() { PYTHONPATH="$here" "$python" "$@"; }
here "$here/deploy/parity.py" reference "$root/reference.npz"
here -m edge_runtime.cli.run --demo --threads 1 --out "$root/here.jsonl" 2> /dev/null
arm -m edge_runtime.cli.run --demo --threads 1 --out "$root/there.jsonl" 2> /dev/null
parts=0
arm "$here/deploy/parity.py" check "$root/reference.npz" || parts=1
here "$here/deploy/parity.py" labels "$root/here.jsonl" "$root/there.jsonl" || parts=1
exit $parts
