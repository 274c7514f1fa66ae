#!/bin/sh
# Switches the board to a release, checks its health, and goes back if it fails. Installed by `edgepose deploy`; runs as root.
#
#   activate switch RELEASE SECONDS KEEP   switch to a release; go back unless it stays healthy for SECONDS; keep KEEP releases
#   activate rollback RELEASE|- SECONDS    switch to an earlier release; - is the previous one
#   activate recover                       called by systemd if the service has failed and is not restarted any more
#
# `current` is a symbolic link that is replaced with an atomic rename. A release that was healthy has a file healthy/RELEASE. If the power
# fails at any moment, the service starts with `current`, and `recover` goes back from a release that was never healthy.
#
# The base folder and everything directly in its folders must belong to root; anything else is refused. The service user can have written the
# contents of a release of the old layout, and the status file: they are not executed, and no link in them is followed.
set -u
umask 022
base=${EDGEPOSE_BASE:-/opt/edgepose}
unit=edgepose.service
status=${EDGEPOSE_STATUS:-/run/edgepose/status.json}

say() { printf 'edgepose: %s\n' "$*"; }

# True if $1 is a release id, such as 20261124T140000-1a2b3c4d.
is_release_id() {
    case $1 in
    *[!0-9a-fT-]*) return 1 ;;
    [0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9][0-9][0-9]-????????) ;;
    *) return 1 ;;
    esac
    case ${1#*-} in *[!0-9a-f]*) return 1 ;; esac
}

# True if $1 is a folder, not a link, that belongs to this user and that nobody else may write to.
is_own_folder() {
    [ ! -L "$1" ] && [ -d "$1" ] && [ "$(stat -c %u -- "$1")" = "$(id -u)" ] && [ -z "$(find "$1" -maxdepth 0 -perm /022)" ]
}

# Prints the id of the release that the link $1 points to; prints nothing if it points to anything else.
get_linked_release() {
    [ -L "$base/$1" ] || return 0
    to=$(readlink -- "$base/$1")
    case $to in releases/*) ;; *) return 0 ;; esac
    if is_release_id "${to#releases/}"; then printf '%s' "${to#releases/}"; fi
}

was_healthy() { [ -f "$base/healthy/$1" ] && [ ! -L "$base/healthy/$1" ]; }

# set_release_link NAME RELEASE: points the link NAME to a release.
set_release_link() {
    ln -sfn -- "releases/$2" "$base/.$1.new" && mv -T -- "$base/.$1.new" "$base/$1" && sync -f "$base"
}

# Prints at most 64 KiB of the status file of the service. Reads it as user nobody, follows no link, waits for no FIFO.
read_status() {
    run_as_nobody timeout 5 dd if="$status" iflag=nofollow,nonblock,fullblock bs=65536 count=1 2>/dev/null
}
run_as_nobody() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs -- "$@"; else "$@"; fi
}

# Starts the service with the current release. True if it delivers frames and its process runs for $1 seconds without a restart.
start_and_check() {
    systemctl reset-failed "$unit" 2>/dev/null
    if ! systemctl restart "$unit" 2>/dev/null; then say "the service does not start"; return 1; fi
    process=$(systemctl show -p MainPID --value "$unit")
    waited=0
    while [ "$waited" -lt "$1" ]; do
        sleep 1
        waited=$((waited + 1))
        if [ "$(systemctl show -p MainPID --value "$unit")" != "$process" ]; then say "the service ended after $waited s"; return 1; fi
    done
    if ! read_status | grep -aq '"state": "running"'; then say "the service delivers no frames"; return 1; fi
}

# Prints the last log lines of the service.
print_last_log() { journalctl -u "$unit" _TRANSPORT=stdout -n 3 -o cat --no-pager 2>/dev/null | head -c 4000; }

# Removes old releases, releases that do not belong to root (the service user could have changed them), incomplete folders, and
# environments without a release. $1 is the number of releases to keep.
remove_old_releases() {
    cd -P -- "$base/releases" || return
    [ "$PWD" = "$(cd -P -- "$base" && pwd)/releases" ] || return
    find . -mindepth 1 -maxdepth 1 -name '.?*' -exec rm -rf -- {} +
    before=$(get_linked_release previous)
    if [ -n "$before" ] && ! is_own_folder "$base/releases/$before"; then rm -f -- "$base/previous"; fi
    for name in *; do
        if ! is_release_id "$name" || ! is_own_folder "./$name"; then rm -rf -- "./$name"; fi
    done
    # Only valid ids are left: the newest first.
    kept=0
    for name in $(ls -1r); do
        if [ "$name" = "$(get_linked_release current)" ] || [ "$name" = "$(get_linked_release previous)" ]; then continue; fi
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
        if [ -z "$used" ] || ! is_own_folder "./$name"; then rm -rf -- "./$name"; fi
    done
}

switch() {
    release=$1 seconds=$2 keep=$3
    before=$(get_linked_release current)
    if ! is_own_folder "$base/releases/$release" || [ ! -f "$base/releases/$release/release.json" ]; then say "there is no release $release"; return 1; fi
    environment=$(readlink -- "$base/releases/$release/venv")
    if ! is_own_folder "$base/environments/${environment##*/}"; then say "release $release has no environment that belongs to root"; return 1; fi
    # Never go back to a release that was not healthy.
    if [ -n "$before" ] && [ "$before" != "$release" ] && was_healthy "$before"; then set_release_link previous "$before"; fi
    sync -f "$base"
    set_release_link current "$release" || { say "cannot create the link to release $release"; return 1; }
    systemctl enable --quiet "$unit"
    if start_and_check "$seconds"; then
        : > "$base/healthy/$release" && sync -f "$base"
        remove_old_releases "$keep"
        say "release $release is healthy"
        return 0
    fi
    print_last_log
    back=$(get_linked_release previous)
    if [ -z "$back" ] || [ "$back" = "$release" ]; then
        systemctl disable --quiet --now "$unit"
        rm -f -- "$base/current"
        say "release $release failed; there is no earlier release to go back to"
    elif set_release_link current "$back" && start_and_check 3; then
        say "release $release failed; release $back runs again"
    else
        say "release $release failed; release $back does not start either"
    fi
    return 1
}

recover() {
    now=$(get_linked_release current) back=$(get_linked_release previous)
    if [ -n "$back" ] && [ "$back" != "$now" ] && ! was_healthy "$now"; then
        say "release $now was never healthy; going back to $back"
        set_release_link current "$back"
    else
        # A release that was healthy is started again every minute: a camera can be missing for a while.
        sleep 60
    fi
    systemctl reset-failed "$unit"
    systemctl start --no-block "$unit"
}

for folder in "$base" "$base/releases" "$base/environments" "$base/healthy"; do
    if ! is_own_folder "$folder"; then
        say "$folder: expected a folder that belongs to root and that nobody else may write to; deploy again"
        exit 1
    fi
done
check_number() { case $1 in '' | *[!0-9]* | ?????*) say "expected a number, got $1"; exit 2 ;; esac; }

# Lock: two users can deploy to the same board. Not in /run/lock, where everybody may write.
exec 9>> "$base/.lock"
case ${1-} in
switch)
    if ! is_release_id "$2"; then say "expected a release id, got $2"; exit 2; fi
    check_number "$3"; check_number "$4"
    flock -w 300 9 || exit 1
    switch "$2" "$3" "$4"
    ;;
rollback)
    check_number "$3"
    flock -w 300 9 || exit 1
    to=$2
    if [ "$to" = - ]; then to=$(get_linked_release previous); fi
    if [ -z "$to" ]; then say "there is no release to go back to"; exit 1; fi
    if ! is_release_id "$to"; then say "expected a release id, got $to"; exit 2; fi
    if [ "$to" = "$(get_linked_release current)" ]; then say "release $to runs already"; exit 1; fi
    switch "$to" "$3" 99
    ;;
recover) flock -n 9 || exit 0; recover ;;
*) echo "usage: activate switch RELEASE SECONDS KEEP | rollback RELEASE|- SECONDS | recover" >&2; exit 2 ;;
esac
