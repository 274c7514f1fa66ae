#!/bin/sh
# Switches the board to a release and back, and sees to it that one of them runs. Installed by `edgepose deploy` as root's.
#
#   activate switch RELEASE SECONDS KEEP   to a release; back to the one before unless it is healthy for so long
#   activate rollback RELEASE|- SECONDS    to an earlier release, the one before by default
#   activate recover                       called by systemd where the service has failed for good
#
# `current` is a symbolic link that is replaced by an atomic rename. A release that was healthy has a file `healthy`; the power may go
# at any moment: the service then starts with whatever `current` is, and `recover` goes back from one that was never healthy.
set -u
base=${EDGEPOSE_BASE:-/opt/edgepose}
unit=edgepose.service
status=/run/edgepose/status.json

id_of() { basename "$(readlink "$base/$1" 2>/dev/null)" 2>/dev/null; }
say() { echo "edgepose: $*"; }

# link NAME RELEASE
link() {
    ln -sfn "releases/$2" "$base/.$1.new" && mv -T "$base/.$1.new" "$base/$1" && chown -h edgepose:edgepose "$base/$1" && sync -f "$base"
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
    if ! grep -q '"state": "running"' "$status" 2>/dev/null; then say "it gives no frames"; return 1; fi
}

# The last words of the service, for whoever wants to know why.
why() { journalctl -u "$unit" _TRANSPORT=stdout -n 3 -o cat --no-pager 2>/dev/null; }

prune() {
    cd "$base/releases" || return
    rm -rf .[0-9a-zA-Z]*
    kept=0
    for name in $(ls -1r); do
        if [ "$name" = "$(id_of current)" ] || [ "$name" = "$(id_of previous)" ]; then continue; fi
        kept=$((kept + 1))
        if [ "$kept" -gt $(($1 - 2)) ]; then rm -rf "$name"; fi
    done
    cd "$base/environments" || return
    rm -rf .[0-9a-zA-Z]*
    for name in *; do
        used=$(find "$base/releases" -maxdepth 2 -name venv -lname "*/environments/$name" 2>/dev/null)
        if [ -z "$used" ]; then rm -rf "$name"; fi
    done
}

switch() {
    release=$1 seconds=$2 keep=$3
    before=$(id_of current)
    if [ ! -e "$base/releases/$release/release.json" ]; then say "there is no release $release"; return 1; fi
    # A release that never was healthy is nothing to go back to.
    if [ -n "$before" ] && [ "$before" != "$release" ] && [ -e "$base/releases/$before/healthy" ]; then link previous "$before"; fi
    sync -f "$base"
    link current "$release" || { say "the link cannot be made"; return 1; }
    systemctl enable --quiet "$unit"
    if healthy "$seconds"; then
        install -o edgepose -g edgepose -m 644 /dev/null "$base/current/healthy" && sync -f "$base"
        prune "$keep"
        say "release $release is healthy"
        return 0
    fi
    why
    back=$(id_of previous)
    if [ -z "$back" ] || [ "$back" = "$release" ]; then
        systemctl disable --quiet --now "$unit"
        rm -f "$base/current"
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
    if [ -n "$back" ] && [ "$back" != "$now" ] && [ ! -e "$base/current/healthy" ]; then
        say "release $now never was healthy; back to $back"
        link current "$back"
    else
        # What was healthy is tried again every minute: a camera may be plugged in.
        sleep 60
    fi
    systemctl reset-failed "$unit"
    systemctl start --no-block "$unit"
}

# One at a time: two people may deploy to the same board.
exec 9> /run/lock/edgepose-activate
case ${1-} in
switch) flock -w 300 9 || exit 1; switch "$2" "$3" "$4" ;;
rollback)
    flock -w 300 9 || exit 1
    to=$2
    if [ "$to" = - ]; then to=$(id_of previous); fi
    if [ -z "$to" ]; then say "there is no release to go back to"; exit 1; fi
    if [ "$to" = "$(id_of current)" ]; then say "release $to runs already"; exit 1; fi
    switch "$to" "$3" 99
    ;;
recover) flock -n 9 || exit 0; recover ;;
*) echo "usage: activate switch RELEASE SECONDS KEEP | rollback RELEASE|- SECONDS | recover" >&2; exit 2 ;;
esac
