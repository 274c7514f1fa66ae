#!/usr/bin/env bash
# Test Picamera2 without a camera: a Debian trixie root with libcamera's virtual pipeline and the edgepose package.
# Needs root, mmdebstrap and a Debian mirror (read from the apt sources). Usage: picamera.sh FOLDER MODEL.tflite
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$1 model=$2
root=$folder/trixie
mkdir -p "$folder"
. tests/boards/common.sh
if [ ! -e "$root/usr/bin/python3" ]; then
    tree "$root" python3,python3-libcamera,libcamera-ipa,python3-numpy,python3-pil,python3-av,python3-jsonschema,python3-venv,python3-dev,python3-prctl,python3-opencv,libcap-dev,gcc,libgl1
    # Create the links that the maintainer scripts would have created.
    for name in blas lapack; do
        ln -sf "$name/lib$name.so.3" "$root/usr/lib/x86_64-linux-gnu/lib$name.so.3"
    done
    mkdir -p "$root/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
    cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
fi
cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$root/etc/pip.conf"; fi
mounted=()
end() { for place in "${mounted[@]}"; do umount -l "$place"; done; }
trap end EXIT
# The package source of pip may be a folder on this machine.
for place in /proc /sys /dev /opt; do
    mkdir -p "$root$place"
    mount --rbind "$place" "$root$place"
    mount --make-rslave "$root$place"
    mounted+=("$root$place")
done
if [ ! -e "$root/venv/done" ]; then
    chroot "$root" python3 -m venv --system-site-packages /venv
    chroot "$root" /venv/bin/pip install --quiet picamera2 ai-edge-litert platformdirs tqdm click
    touch "$root/venv/done"
fi
ours "$root"
mkdir -p "$root/check/images"
cp tests/boards/picamera_check.py "$root/check/" && cp "$model" "$root/check/model.tflite"
gcc -O2 -shared -fPIC -o "$root/check/fake_dma_heap.so" tests/boards/fake_dma_heap.c -ldl
.venv/bin/python - "$root/check/images" <<'PYTHON'
import sys

import cv2

from edgepose.runtime.synthetic import Scene

scene = Scene(2, 640, 480)
for number in range(10):
    cv2.imwrite(f"{sys.argv[1]}/{number}.jpg", scene.render_frame(number).image)
PYTHON
mkdir -p "$root/usr/share/libcamera/pipeline/virtual"
cat > "$root/usr/share/libcamera/pipeline/virtual/virtual.yaml" <<'YAML'
%YAML 1.1
---
"VirtualBars":
  supported_formats:
  - {width: 640, height: 480, frame_rates: [30, 60]}
  test_pattern: "bars"
  location: "CameraLocationFront"
  model: "bars"
"VirtualImages":
  supported_formats:
  - {width: 640, height: 480, frame_rates: [30]}
  frames:
    path: "/check/images/"
  location: "CameraLocationBack"
  model: "imx708"
YAML
LD_PRELOAD=/check/fake_dma_heap.so LIBCAMERA_LOG_LEVELS='*:ERROR' PYTHONPATH=/check \
    chroot "$root" /venv/bin/python /check/picamera_check.py /check/model.tflite 2> >(grep -v "cannot be preloaded" >&2)
