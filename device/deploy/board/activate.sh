#!/bin/sh
# Switches the board to a release and back, and sees to it that one of them runs. Installed by `edgepose deploy` as root's.
#
#   activate switch RELEASE SECONDS KEEP   to a release; back to the one before unless it is healthy for so long
#   activate rollback RELEASE|- SECONDS    to an earlier release, the one before by default
#   activate recover                       called by systemd where the service has failed for good
#
# `current` is a symbolic link that is replaced by an atomic rename. A release that was healthy has a file healthy/RELEASE; the power may
# go at any moment: the service then starts with whatever `current` is, and `recover` goes back from one that was never healthy.
#
# This runs as root. The base folder and what lies directly in its folders is root's, and is refused if it is not. The service user may have
# written what is inside a release of the old layout, and the status file: neither is executed, and no link in them is followed.
set -u
umask 022
base=${EDGEPOSE_BASE:-/opt/edgepose}
unit=edgepose.service
status=${EDGEPOSE_STATUS:-/run/edgepose/status.json}

say() { printf 'edgepose: %s\n' "$*"; }

# 0 if $1 is the id of a release, as in 20261124T140000-1a2b3c4d, and nothing else.
valid() {
    case $1 in
    *[!0-9a-fT-]*) return 1 ;;
    [0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]-????????) ;;
    *) return 1 ;;
    esac
    case ${1#*-} in *[!0-9a-f]*) return 1 ;; esac
}

# 0 if $1 is a folder of ours, no link, that nobody else may write to.
ours() {
    [ ! -L "$1" ] && [ -d "$1" ] && [ "$(stat -c %u -- "$1")" = "$(id -u)" ] && [ -z "$(find "$1" -maxdepth 0 -perm /022)" ]
}

# The release that the link $1 names; nothing if it names anything else.
id_of() {
    [ -L "$base/$1" ] || return 0
    to=$(readlink -- "$base/$1")
    case $to in releases/*) ;; *) return 0 ;; esac
    if valid "${to#releases/}"; then printf '%s' "${to#releases/}"; fi
}

was_healthy() { [ -f "$base/healthy/$1" ] && [ ! -L "$base/healthy/$1" ]; }

# link NAME RELEASE
link() {
    ln -sfn -- "releases/$2" "$base/.$1.new" && mv -T -- "$base/.$1.new" "$base/$1" && sync -f "$base"
}

# What the service says of itself, at most 64 KiB of it: read by nobody, no link followed, no FIFO waited for.
status_text() {
    as_nobody timeout 5 dd if="$status" iflag=nofollow,nonblock,fullblock bs=65536 count=1 2>/dev/null
}
as_nobody() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs -- "$@"; else "$@"; fi
}

# Starts the service with what is current; 0 where it has seen its first frame and keeps running for $1 seconds.
healthy() {
    systemctl reset-failed "$unit" 2>/dev/null
    if ! systemctl restart "$unit" 2>/dev/null; then say "it does not start"; return 1; fi
    process=$(systemctl show -p MainPID --value "$unit")
    waited=0
    while [ "$waited" -lt "$1" ]; do
        sleep 1
        waited=$((waited + 1))
        if [ "$(systemctl show -p MainPID --value "$unit")" != "$process" ]; then say "it ended after $waited s"; return 1; fi
    done
    if ! status_text | grep -aq '"state": "running"'; then say "it gives no frames"; return 1; fi
}

# The last words of the service, for whoever wants to know why.
why() { journalctl -u "$unit" _TRANSPORT=stdout -n 3 -o cat --no-pager 2>/dev/null | head -c 4000; }

# Removes old releases, all that are not root's (the service user could have changed them), halves, and environments without a release.
prune() {
    cd -P -- "$base/releases" || return
    [ "$PWD" = "$(cd -P -- "$base" && pwd)/releases" ] || return
    find . -mindepth 1 -maxdepth 1 -name '.?*' -exec rm -rf -- {} +
    before=$(id_of previous)
    if [ -n "$before" ] && ! ours "$base/releases/$before"; then rm -f -- "$base/previous"; fi
    for name in *; do
        if ! valid "$name" || ! ours "./$name"; then rm -rf -- "./$name"; fi
    done
    # All names are ids by now: the newest first.
    kept=0
    for name in $(ls -1r); do
        if [ "$name" = "$(id_of current)" ] || [ "$name" = "$(id_of previous)" ]; then continue; fi
        kept=$((kept + 1))
        if [ "$kept" -gt $(($1 - 2)) ]; then rm -rf -- "./$name"; fi
    done
    for mark in "$base/healthy/"*; do
        if [ ! -e "$base/releases/${mark##*/}" ]; then rm -f -- "$mark"; fi
    done
    cd -P -- "$base/environments" || return
    [ "$PWD" = "$(cd -P -- "$base" && pwd)/environments" ] || return
    find . -mindepth 1 -maxdepth 1 -name '.?*' -exec rm -rf -- {} +
    for name in *; do
        used=$(find "$base/releases" -maxdepth 2 -name venv -lname "../../environments/$name" 2>/dev/null)
        if [ -z "$used" ] || ! ours "./$name"; then rm -rf -- "./$name"; fi
    done
}

switch() {
    release=$1 seconds=$2 keep=$3
    before=$(id_of current)
    if ! ours "$base/releases/$release" || [ ! -f "$base/releases/$release/release.json" ]; then say "there is no release $release"; return 1; fi
    environment=$(readlink -- "$base/releases/$release/venv")
    if ! ours "$base/environments/${environment##*/}"; then say "release $release has no environment that is root's"; return 1; fi
    # A release that never was healthy is nothing to go back to.
    if [ -n "$before" ] && [ "$before" != "$release" ] && was_healthy "$before"; then link previous "$before"; fi
    sync -f "$base"
    link current "$release" || { say "the link cannot be made"; return 1; }
    systemctl enable --quiet "$unit"
    if healthy "$seconds"; then
        : > "$base/healthy/$release" && sync -f "$base"
        prune "$keep"
        say "release $release is healthy"
        return 0
    fi
    why
    back=$(id_of previous)
    if [ -z "$back" ] || [ "$back" = "$release" ]; then
        systemctl disable --quiet --now "$unit"
        rm -f -- "$base/current"
        say "release $release failed; there is none to go back to"
    elif link current "$back" && healthy 3; then
        say "release $release failed; $back runs again"
    else
        say "release $release failed; $back does not start either"
    fi
    return 1
}

recover() {
    now=$(id_of current) back=$(id_of previous)
    if [ -n "$back" ] && [ "$back" != "$now" ] && ! was_healthy "$now"; then
        say "release $now never was healthy; back to $back"
        link current "$back"
    else
        # What was healthy is tried again every minute: a camera may be plugged in.
        sleep 60
    fi
    systemctl reset-failed "$unit"
    systemctl start --no-block "$unit"
}

for folder in "$base" "$base/releases" "$base/environments" "$base/healthy"; do
    if ! ours "$folder"; then
        say "$folder: expected a folder that belongs to root and that nobody else may write to; deploy again"
        exit 1
    fi
done
number() { case $1 in '' | *[!0-9]* | ?????*) say "expected a number, got $1"; exit 2 ;; esac; }

# One at a time: two people may deploy to the same board. Not in /run/lock, which everybody may write to.
exec 9>> "$base/.lock"
case ${1-} in
switch)
    if ! valid "$2"; then say "expected the id of a release"; exit 2; fi
    number "$3"; number "$4"
    flock -w 300 9 || exit 1
    switch "$2" "$3" "$4"
    ;;
rollback)
    number "$3"
    flock -w 300 9 || exit 1
    to=$2
    if [ "$to" = - ]; then to=$(id_of previous); fi
    if [ -z "$to" ]; then say "there is no release to go back to"; exit 1; fi
    if ! valid "$to"; then say "expected the id of a release"; exit 2; fi
    if [ "$to" = "$(id_of current)" ]; then say "release $to runs already"; exit 1; fi
    switch "$to" "$3" 99
    ;;
recover) flock -n 9 || exit 0; recover ;;
*) echo "usage: activate switch RELEASE SECONDS KEEP | rollback RELEASE|- SECONDS | recover" >&2; exit 2 ;;
esac
