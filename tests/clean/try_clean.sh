#!/usr/bin/env bash
# What a stranger does, on a Debian system with nothing but Python, venv, a C compiler and make.
# Needs root and mmdebstrap. Usage: try_clean.sh [bookworm|trixie]...; TRY_CLEAN=/path/to/folder for roots and logs.
# pip gets the index settings of this environment (PIP_*); nothing else of it is passed on.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/boards/common.sh
folder=${TRY_CLEAN:-build/clean}
if [ "$(id -u)" != 0 ] || ! command -v mmdebstrap > /dev/null; then
    echo "try_clean.sh: needs root and mmdebstrap; run it as root after: apt-get install mmdebstrap" >&2
    exit 2
fi
mkdir -p "$folder"
folder=$(realpath "$folder")
packages=python3,python3-venv,python3-dev,gcc,libc6-dev,make,ca-certificates
mapfile -t index < <(env | grep '^PIP_[A-Z_]*=' | grep -v '^PIP_FIND_LINKS=' || true)

# inside ROOT COMMANDS: run them as the user maker, in mount and process namespaces of their own
inside() {
    unshare --mount --pid --fork --mount-proc="$1/proc" bash -c '
        root=$1 commands=$2; shift 2
        mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev"
        exec chroot "$root" env -i HOME=/home/maker USER=maker LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin "$@" \
            setpriv --reuid=maker --regid=maker --init-groups bash -euc "cd /home/maker/edgepose; $commands"
    ' inside "$1" "$2" "${index[@]}"
}

# step NAME COMMANDS: one line with the result and the time; the output goes to a log
step() {
    local start=$SECONDS log=$folder/$suite-$1.log
    if inside "$root" "$2" > "$log" 2>&1; then
        echo "$suite  ok      $1  $((SECONDS - start)) s"
    else
        echo "$suite  FAILED  $1  $((SECONDS - start)) s; the end of $log:"
        tail -n 20 "$log"
        failed=1
    fi
}

failed=0
for suite in "${@:-bookworm}"; do
    root=$folder/$suite
    tar=$folder/$suite.tar
    if [ ! -e "$tar" ]; then
        mmdebstrap --quiet --variant=minbase "--include=$packages" "$suite" "$tar.part" "$(mirror)" --format=tar
        mv "$tar.part" "$tar"
    fi
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    tar -C "$root" -xf "$tar" --exclude='./dev/*'
    rm -f "$root/etc/resolv.conf"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    # The certificates of this machine: the index may be behind a proxy.
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    chroot "$root" useradd --create-home --shell /bin/bash maker
    mkdir "$root/home/maker/edgepose"
    git archive HEAD | tar -C "$root/home/maker/edgepose" -xf -
    chroot "$root" chown -R maker: /home/maker

    step demo 'make demo && test -s build/demo/poses.png'
    step venv 'python3 -m venv ~/venv && . ~/venv/bin/activate && pip install ".[camera]"'
    step run '. ~/venv/bin/activate && cd ~ && edgepose run synthetic:3 --json poses.jsonl --draw drawn/ && test -s drawn/*.jpg'
    step camera '. ~/venv/bin/activate && cd ~ && edgepose camera --source synthetic:3 --sink jsonl:loop.jsonl --seconds 5 && test -s loop.jsonl'
    step events '. ~/venv/bin/activate && cd ~ && edgepose events --help && edgepose models && edgepose info edgepose-tiny'
    # Without git: an archive is all there is here.
    step sdist '.venv/bin/python -m pip install build twine && .venv/bin/python -m build --sdist --outdir ~/dist &&
        .venv/bin/python -m twine check --strict ~/dist/*'
    step from-sdist 'python3 -m venv ~/fresh && ~/fresh/bin/pip install ~/dist/edgepose-*.tar.gz && cd ~ &&
        ~/fresh/bin/edgepose run synthetic:2 --json two.jsonl && test -s two.jsonl'
    # Debian refuses it, and the pages say so.
    step without-venv '! ~/venv/bin/pip --python /usr/bin/python3 install . > ~/refused 2>&1 && grep externally-managed ~/refused'
    if [ -e tests/test_getting_started.py ]; then
        step getting-started '.venv/bin/python -m pip install ".[camera,eval,plot]" pytest && .venv/bin/python -m pytest -p no:cacheprovider \
            -o addopts= -q tests/test_getting_started.py'
    fi
done
exit $failed
