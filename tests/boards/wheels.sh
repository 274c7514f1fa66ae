#!/usr/bin/env bash
# Test the edgepose wheels for aarch64 and armv7l on emulated processors, with Debian's Python and NumPy of that
# architecture: the decoder kernel must find the people of synthetic heatmaps and PAFs. Needs root and mmdebstrap. Usage: wheels.sh FOLDER (with the wheels in dist/)
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/boards/common.sh
folder=$1
if [ "$(id -u)" != 0 ] || ! command -v mmdebstrap > /dev/null; then
    echo "wheels were not tested on emulated processors: this needs root and mmdebstrap"
    exit 0
fi
mkdir -p "$folder"
if [ ! -x "$folder/emulator/usr/bin/qemu-arm" ]; then
    mmdebstrap --quiet --variant=extract --include=qemu-user trixie "$folder/emulator" "$(mirror)"
fi
.venv/bin/python - "$folder/painted.npz" <<'PYTHON'
import sys

import numpy as np

from edgepose.runtime.synthetic.fields import place_people, render_fields

people = place_people(5, 46, 54, np.random.default_rng(1))
heatmaps, pafs = render_fields(people, 46, 54)
np.savez(sys.argv[1], people=people, heatmaps=heatmaps, pafs=pafs)
PYTHON
check() { # DEBIAN ARCHITECTURE, WHEEL ARCHITECTURE, QEMU PROGRAM, LIBRARY FOLDER
    local root=$folder/$1
    if [ ! -e "$root/usr/bin/python3.11" ]; then
        rm -rf "$root"
        mmdebstrap --quiet "--arch=$1" --variant=extract --skip=check/qemu --include=python3,python3-numpy bookworm "$root" "$(mirror)"
        for name in blas lapack; do
            ln -sf "$name/lib$name.so.3" "$root/usr/lib/$4/lib$name.so.3"
        done
    fi
    rm -rf "$root/check" && mkdir "$root/check"
    .venv/bin/python -m zipfile -e dist/edgepose-*"$2".whl "$root/check"
    echo "$2:"
    QEMU_LD_PREFIX=$root PYTHONHOME=$root/usr PYTHONPATH=$root/check:$root/usr/lib/python3/dist-packages \
        LD_LIBRARY_PATH= "$folder/emulator/usr/bin/$3" "$root/usr/bin/python3.11" -S tests/boards/wheel_check.py "$folder/painted.npz"
}
check arm64 aarch64 qemu-aarch64 aarch64-linux-gnu
check armhf armv7l qemu-arm arm-linux-gnueabihf
echo "armv6l: the kernel for an older processor, run on a newer one:"
check armhf armv6l qemu-arm arm-linux-gnueabihf
