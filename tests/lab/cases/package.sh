#!/usr/bin/env bash
# The Debian package in a real system: installed, upgraded while a job runs, removed, installed again, and purged.
#
#     tests/lab/boot . tests/lab/cases/package.sh [OLD.deb NEW.deb]
#
# Unless they are named, these are stoked_*-1_*.deb and stoked_*-2_*.deb in /lab, or in target/packages of the tree that is
# there. Ends with 0, or says what was wrong and ends with 1; with 77 where there are none.
set -euo pipefail

packages=("$@")
if [ $# = 0 ]; then
    # Names that match nothing are gone.
    shopt -s nullglob
    packages=({.,target/packages}/stoked_*-1_*.deb {.,target/packages}/stoked_*-2_*.deb)
fi
if [ "${#packages[@]}" != 2 ]; then
    echo "skipped: make both packages first: packaging/deb/build --revision 1, and with --revision 2"
    exit 77
fi
old=${packages[0]}
new=${packages[1]}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
said=/tmp/said

step() { printf -- '-- %s\n' "$*"; }
fail() {
    printf 'WRONG: %s\n' "$*"
    [ ! -s "$said" ] || sed 's/^/    dpkg: /' "$said"
    systemctl --no-pager --full status 'stoked*' 2>&1 | sed 's/^/    /' | head -n 60 || true
    exit 1
}
# quiet COMMAND…: what it says is shown where something is wrong.
quiet() { "$@" >"$said" 2>&1 </dev/null; }
as() { local user=$1; shift; runuser -u "$user" -- env -C / HOME="/home/$user" "$@"; }
active() { [ "$(systemctl is-active "$1")" = active ] || fail "$1 is $(systemctl is-active "$1")"; }
shim_of() { systemctl show --property MainPID --value "$1"; }
# ended PID: waits until a process that is not a child of ours is gone.
ended() { tail --pid="$1" -f /dev/null; }
# The state in what `stoke show --json` prints.
state() { python3 -c 'import json, sys; print(json.load(sys.stdin)["state"])'; }
# held NAME STATUS: starts a job of alice that ends with STATUS once somebody writes to /home/alice/NAME. Prints its number.
held() {
    as alice mkfifo "/home/alice/$1" "/home/alice/$1.runs"
    as alice stoke run -d -n "$1" -- sh -c "echo \"begins \$\$\"; : >/home/alice/$1.runs; cat /home/alice/$1; exit $2"
    # An open FIFO is the event that it runs.
    cat "/home/alice/$1.runs" >&2
}
files=$(dirname "$0")/files
"$files" >/tmp/before

step "installing"
quiet dpkg -i "$old" || fail "the package cannot be installed"
active stoked.socket
active stoked.service
getent group stoked >/dev/null || fail "there is no group stoked"
[ "$(stat -c %a /var/lib/stoked)" = 700 ] || fail "the state is not private: $(stat -c %a /var/lib/stoked)"
for unit in stoked.service stoked.socket; do
    [ "$(systemctl is-enabled "$unit")" = enabled ] || fail "$unit is $(systemctl is-enabled "$unit")"
done
as alice stoke run -- true || fail "stoke run -- true of alice ended with $?"
[ "$(as bob stoke run -- id -un)" = bob ] || fail "a job of bob does not run as bob"
for unit in stoked.service stoked.socket stoked.slice; do
    quiet systemd-analyze verify --man=no "/usr/lib/systemd/system/$unit" || fail "$unit is not as systemd wants it"
    [ ! -s "$said" ] || fail "systemd says something of $unit"
done
for unit in stoked.service stoked.socket; do
    quiet env XDG_RUNTIME_DIR=/run systemd-analyze verify --user --man=no "/usr/lib/systemd/user/$unit" || fail "the user's $unit is not as systemd wants it"
    [ ! -s "$said" ] || fail "systemd says something of the user's $unit"
done
quiet systemd-analyze security --threshold=25 stoked.service || fail "the sandbox of stoked.service is too wide"

step "upgrading while a job runs"
# One user has a daemon of his own beside that of the system.
quiet loginctl enable-linger bob || fail "bob can have no manager of his own"
quiet systemctl start user@1001.service || fail "the manager of bob does not start"
quiet systemctl --user --machine=bob@.host start stoked.socket stoked.service || fail "the daemon of bob does not start"
of_bob() { as bob env XDG_RUNTIME_DIR=/run/user/1001 STOKE_SOCKET=/run/user/1001/stoked/stoked.sock "$@"; }
daemon_of_bob() { systemctl --user --machine=bob@.host show --property MainPID --value stoked.service; }
own=$(of_bob stoke run -d -- sleep infinity)
bobs=$(daemon_of_bob)
job=$(held upgraded 7)
unit=stoked-job-$job-1.service
active "$unit"
shim=$(shim_of "$unit")
daemon=$(shim_of stoked.service)
quiet dpkg -i "$new" || fail "the package cannot be upgraded"
[ "$(dpkg-query -W -f '${Version}' stoked)" = "$(dpkg-deb -f "$new" Version)" ] || fail "the upgrade is not installed"
active stoked.service
[ "$(shim_of stoked.service)" != "$daemon" ] || fail "the daemon is still the old one"
active "$unit"
[ "$(shim_of "$unit")" = "$shim" ] || fail "the job was started again"
[ "$(daemon_of_bob)" != "$bobs" ] || fail "the daemon of bob is still the old one"
[ "$(of_bob stoke show --json "$own" | state)" = running ] || fail "the job of bob's own daemon does not run any more"
of_bob stoke cancel "$own" >/dev/null || fail "the job of bob's own daemon cannot be ended"
quiet loginctl disable-linger bob
quiet systemctl stop user@1001.service
echo goes on >/home/alice/upgraded
status=0
as alice stoke wait "$job" || status=$?
[ "$status" = 7 ] || fail "the job of before the upgrade ended with $status, not with 7"
[ "$(as alice stoke logs "$job" | tail -n 1)" = "goes on" ] || fail "the output of the job is not whole"

step "an upgrade leaves off what was disabled"
systemctl disable --quiet --now stoked.service stoked.socket
quiet dpkg -i "$old" || fail "an older package cannot be installed over a newer one"
[ "$(systemctl is-enabled stoked.service || true)" = disabled ] || fail "it enabled what was disabled"
[ "$(systemctl is-active stoked.service || true)" = inactive ] || fail "it started what was disabled"
systemctl enable --quiet --now stoked.socket stoked.service

step "removing while a job runs"
job=$(held removed 9)
unit=stoked-job-$job-1.service
shim=$(shim_of "$unit")
quiet dpkg -r stoked || fail "the package cannot be removed"
grep -q "as many as 1" "$said" || fail "nobody was told that a job runs"
grep -q "systemctl stop 'stoked-job-\*'" "$said" || fail "nobody was told how to end it"
active "$unit"
[ ! -e /usr/bin/stoked ] || fail "/usr/bin/stoked is still there"
[ "$(systemctl is-active stoked.service || true)" = inactive ] || fail "the daemon still runs"
[ -d /var/lib/stoked ] && [ -e /etc/stoked/stoked.toml ] || fail "a removal took the state or the configuration"
echo >/home/alice/removed
ended "$shim"

step "installing again: how a job ended meanwhile is known"
quiet dpkg -i "$new" || fail "the package cannot be installed again"
status=0
as alice stoke wait "$job" || status=$?
[ "$status" = 9 ] || fail "the job that ended without a daemon ended with $status, not with 9"

step "removing with the answer that jobs are to end"
job=$(held told 3)
echo 'stoked stoked/end-jobs boolean true' | debconf-set-selections
quiet dpkg -r stoked || fail "the package cannot be removed with the answer"
[ "$(systemctl is-active "stoked-job-$job-1.service" || true)" != active ] || fail "the job was not ended"
quiet dpkg -i "$new" || fail "the package cannot be installed a third time"
state=$(as alice stoke show --json "$job" | state)
case $state in failed | cancelled) ;; *) fail "the job that was ended is $state" ;; esac

step "purging waits for what runs"
job=$(held purged 4)
unit=stoked-job-$job-1.service
shim=$(shim_of "$unit")
if quiet dpkg --purge stoked; then fail "it purged the state of a job that runs"; fi
grep -q "as many as 1" "$said" || fail "nobody was told why nothing was purged"
active "$unit"
[ -d "/var/lib/stoked/logs/$job.1" ] || fail "the log of a running job is gone"
quiet systemctl stop 'stoked-job-*' || fail "the job cannot be ended as was told"
[ ! -d "/proc/$shim" ] || fail "the job was not ended"

step "purging"
touch /etc/stoked/made-by-somebody
quiet dpkg --purge stoked || fail "the package cannot be purged"
! getent group stoked >/dev/null || fail "the group is still there"
[ ! -e /run/stoked ] || fail "/run/stoked is still there: $(ls -A /run/stoked)"
[ -z "$(systemctl list-units --all --plain --no-legend 'stoked*')" ] || fail "units are still there"
[ -z "$(ps -e -o comm= | grep '^stoke' || true)" ] || fail "processes are still there: $(ps -e -o pid=,args= | grep stoke)"
"$files" >/tmp/after
left=$(diff /tmp/before /tmp/after) || fail "it did not leave the system as it was:
$left"

step "done"
