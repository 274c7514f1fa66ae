#!/usr/bin/env bash
# Test a USB camera without hardware: a virtual machine with Debian's kernel and its virtual camera (module `vivid`). The
# whole system is in the initial ramdisk. Needs mmdebstrap, cpio and qemu-system-x86. Usage: v4l2.sh FOLDER
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/boards/common.sh
root=$1/vm
mkdir -p "$1"
if [ ! -e "$root/done" ]; then
    tree "$root" python3,kmod,linux-image-amd64,libgl1,bash,coreutils,mount
    # Download wheels for the Python version of the virtual machine.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --python-version 313 \
        --implementation cp --abi cp313 --abi abi3 --abi none --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        --only-binary=:all: --no-deps --target "$root/site" numpy opencv-python-headless tqdm platformdirs click
    for name in depmod modprobe; do ln -sf ../bin/kmod "$root/usr/sbin/$name"; done
    chroot "$root" depmod "$(ls "$root/usr/lib/modules")"
    touch "$root/done"
fi
ours "$root"
cp tests/boards/v4l2_check.py "$root/check/"
cat > "$root/init" <<'INIT'
#!/bin/bash
export PATH=/usr/sbin:/usr/bin PYTHONPATH=/check:/site
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
modprobe vivid n_devs=1 node_types=0x1
sleep 1
python3 /check/v4l2_check.py 2>&1; echo "result $?"
echo o > /proc/sysrq-trigger; sleep 9
INIT
chmod +x "$root/init"
(cd "$root" && find . -path ./boot -prune -o -path ./usr/share/doc -prune -o -print | cpio -o -H newc --quiet) > "$1/initrd.cpio"
timeout 300 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 4G -smp 2 -nographic -no-reboot \
    -kernel "$root"/boot/vmlinuz-* -initrd "$1/initrd.cpio" -append "console=ttyS0 quiet panic=-1" | tr -d '\r' | tee "$1/vm.log" |
    sed -n '/frames a second/,/result/p'
grep -q "^result 0" "$1/vm.log"
