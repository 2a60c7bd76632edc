#!/usr/bin/env bash
# The newcomer's tour: a private daemon, three real jobs, what happened, and nothing left behind.
#
# It touches neither a stoked that may be running nor anything outside a temporary folder and Cargo's target/.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root/examples"

# === What depends on the shape of daemon and client: adapt it here ===

start_daemon() { # in the background; its process id in $daemon
    # A session of its own: Ctrl-C in this terminal must not end it before its jobs.
    # An empty place for settings: the tour shows the defaults.
    STOKED_DEMO=$home XDG_CONFIG_HOME=$home/config setsid stoked --user --state-dir "$home/state" --runtime-dir "$home/run" \
        >"$home/daemon.log" 2>&1 &
    daemon=$!
    export STOKE_SOCKET=$home/run/stoked.sock
}
submit() { STOKED_DEMO=$home stoke run -d "$@"; } # prints the id and nothing else
list() { stoke ls -a; }
active_ids() { stoke ls --json | python3 -c '
import sys; sys.path.insert(0, "."); sys.dont_write_bytecode = True
from follow import FINAL, listing
print(*(number for number, job in listing(sys.stdin.read()).items() if job["state"] not in FINAL))'; }

# === What is said and done around it ===

bold=; dim=; plain=
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
shown() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The daemon, its shims and their jobs carry STOKED_DEMO in their environment, and nothing else does: this finds
# them even if everybody has forgotten them.
leftovers() { grep -lzxF "STOKED_DEMO=$home" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3 || true; }

daemon=
home=$(mktemp -d "${TMPDIR:-/tmp}/stoked-demo.XXXXXX")
clean_up() {
    local status=$? ids left
    trap - EXIT
    trap '' INT TERM HUP
    if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
        # The daemon leaves running jobs alone when it ends, so they are asked to end first.
        ids=$(timeout 5 bash -c "$(declare -f active_ids); active_ids" 2>/dev/null || true)
        # shellcheck disable=SC2086 # the ids are words
        [ -z "$ids" ] || { timeout 10 stoke cancel $ids && timeout 15 stoke wait $ids; } >/dev/null 2>&1 || true
        kill "$daemon" 2>/dev/null || true
        timeout 15 tail --pid="$daemon" -f /dev/null || true
    fi
    left=$(leftovers)
    if [ -n "$left" ]; then
        printf 'error: still running after the end, and killed now: %s\n' "$(echo $left)" >&2
        # shellcheck disable=SC2086
        kill -KILL $left 2>/dev/null || true
        [ "$status" != 0 ] || status=1
    fi
    if [ "$status" != 0 ] && [ -s "$home/daemon.log" ]; then
        printf '\nthe last lines of the daemon:\n' >&2
        tail -n 20 "$home/daemon.log" >&2
    fi
    rm -rf "$home"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

title "Building"
# A debug build is there in less than half the time of a release build on a fresh machine, and nothing here is
# slow enough to notice. Whoever has a release build gets that one refreshed instead.
if [ -n "${STOKED_BIN:-}" ]; then
    bin=$STOKED_BIN
elif [ -x "$root/target/release/stoked" ]; then
    (cd "$root" && cargo build --release --locked --bins)
    bin=$root/target/release
else
    (cd "$root" && cargo build --locked --bins)
    bin=$root/target/debug
fi
PATH=$bin:$PATH
export PATH PYTHONDONTWRITEBYTECODE=1

title "A daemon of its own, in $home"
start_daemon
for _ in $(seq 100); do
    [ -S "$STOKE_SOCKET" ] && stoke ls >/dev/null 2>&1 && break
    kill -0 "$daemon" 2>/dev/null || die "the daemon ended at once"
    sleep 0.1
done
stoke ls >/dev/null || die "the daemon does not answer on $STOKE_SOCKET"
echo "ready (process $daemon)"

title "Three jobs"
shown "stoke run -d --name train -- ./digits/train.py"
train=$(submit --name train --kind train -- ./digits/train.py --out "$home/out/model.json")
echo "$train"
shown "stoke run -d --name pack -- ./pack.py"
pack=$(submit --name pack --kind extract -- ./pack.py --out "$home/out")
echo "$pack"
shown "stoke run -d --name evaluate --after-ok $train -- ./digits/evaluate.py"
evaluate=$(submit --name evaluate --kind evaluate --after-ok "$train" -- ./digits/evaluate.py "$home/out/model.json")
echo "$evaluate"

title "As they go"
good=0
python3 follow.py "$train" "$pack" "$evaluate" || good=$?

title "What happened"
shown "stoke ls -a"
list
shown "stoke show $train"
stoke show "$train"
shown "stoke logs $evaluate"
stoke logs "$evaluate"

title "How to look further"
cat <<END
  stoke run -- CMD…          run something and see its output, as if it had no daemon
  stoke run -d -- CMD…       the same in the background; prints the job's id
  stoke ls, stoke show ID    what there is, and all about one job
  stoke logs -f ID           its output as it comes
  stoke watch                everything that happens, as it happens
  stoke cancel ID            ask it to end; whatever it started ends with it
  stoke --help               the rest
The programs of this tour are in examples/; the demo's daemon and its data are gone when this ends.
END
[ "$good" = 0 ] || die "a job did not complete"
