# Functions for the scripts in this folder: find the Debian mirror of this machine, build a Debian trixie tree without maintainer scripts.
mirror() {
    local found
    found=$(cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null |
        awk '/^URIs/ {print $2; exit} /^deb / {for (i = 2; i <= NF; i++) if ($i ~ /^http/) {print $i; exit}}') || true
    if [ -z "$found" ]; then echo "no Debian mirror in this machine's apt sources" >&2; exit 2; fi
    echo "$found"
}

# tree FOLDER PACKAGES: build the tree
tree() {
    mmdebstrap --quiet --variant=extract "--include=$2" trixie "$1" "$(mirror)"
    for link in bin sbin lib lib64; do [ -e "$1/$link" ] || ln -s "usr/$link" "$1/$link"; done
    mkdir -p "$1/tmp" "$1/root" "$1/proc" "$1/sys" "$1/dev"
}

# ours FOLDER: copy the parts of edgepose that run on a board
ours() {
    rm -rf "$1/check" && mkdir -p "$1/check/edgepose"
    cp -r runtime device "$1/check/edgepose/"
}
