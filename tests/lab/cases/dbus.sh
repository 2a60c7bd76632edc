#!/usr/bin/env bash
# The daemon on the system bus, with polkit and several users.
set -euo pipefail
cd /lab

NAME=io.stoked.Stoked1
ROOT=/io/stoked/Stoked1
MANAGER=$NAME.Manager

as() { runuser -u "$1" -- "${@:2}"; }
# call USER METHOD [ARGUMENT]…
call() { as "$1" gdbus call --system --dest $NAME --object-path $ROOT --method "$MANAGER.$2" "${@:3}" 2>&1; }
fail() { printf 'FAILED: %s\n' "$*"; exit 1; }
good() { printf 'ok: %s\n' "$*"; }
# gives PATTERN WHAT USER METHOD [ARGUMENT]…: what a call answers, whether or not it is an error.
gives() {
    local answer
    answer=$(call "${@:3}" || true)
    case $answer in *"$1"*) good "$2" ;; *) fail "$2: $answer" ;; esac
}
# submit USER NAME: the number of a job that runs until it is ended.
submit() { call "$1" Submit "{'command': <['sleep', '600']>, 'name': <'$2'>}" | sed 's/^(uint32 \([0-9]*\),.*/\1/'; }

# runs JOB: waits until it does.
runs() {
    local events="http://stoked/v1/events?channel=job/$1/state&snapshot=1"
    grep -q -m 1 '"state":"running"' < <(curl -sN --max-time 30 --unix-socket /run/stoked/stoked.sock "$events") \
        || fail "job $1 does not run"
}

install -m 755 bin/stoked bin/stoke /usr/bin
install -D -m 755 bin/stoked-shim /usr/libexec/stoked/stoked-shim
install -m 644 systemd/system/* /etc/systemd/system
install -D -m 644 systemd/sysusers.d/stoked.conf /usr/lib/sysusers.d/stoked.conf
install -D -m 644 packaging/dbus-1/$NAME.conf /usr/share/dbus-1/system.d/$NAME.conf
install -D -m 644 packaging/dbus-1/system-services/$NAME.service /usr/share/dbus-1/system-services/$NAME.service
install -D -m 644 packaging/polkit-1/$NAME.policy /usr/share/polkit-1/actions/$NAME.policy
systemd-sysusers
systemctl daemon-reload
systemctl reload dbus
systemctl restart polkit

# === The bus starts it, and nobody else may have its name ===

gives '"health"' "a call starts the daemon" alice Summary
own=$(as alice gdbus call --system --dest org.freedesktop.DBus --object-path / --method org.freedesktop.DBus.RequestName $NAME 4 2>&1 || true)
case $own in *AccessDenied*) good "nobody but root may have its name" ;; *) fail "alice may have its name: $own" ;; esac
systemctl is-active --quiet stoked.service || fail "it runs as a unit"
stoke health 2>&1 | grep -q "$NAME on the system bus" || fail "health says nothing of the bus: $(stoke health 2>&1)"
good "health says that it is on the bus"

# === What others see and may do ===

job=$(submit bob secret-project)
[ "$(stoke show "$job" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["owner"]["user"])')" = bob ] || fail "the job is not bob's"
good "a job is that of who called"
list=$(call alice ListJobs "{'owner': <'bob'>}" '' 0)
case $list in *"'name': <'secret-project'>"*) ;; *) fail "no name in $list" ;; esac
case $list in *command*|*sleep*) fail "a command in $list" ;; *) good "others see names and states, not commands" ;; esac
case $(call bob ListJobs '@a{sv} {}' '' 0) in *"'command': <['sleep', '600']>"*) good "its owner sees its command" ;; *) fail "bob does not see his command" ;; esac
gives 'Error.AccessDenied' "alice cannot end bob's job" alice Cancel "$job"
gives 'needs io.stoked.Stoked1.manage-others: run it with sudo, or ask an administrator to add you to the group stoked' \
    "the denial says what to do" alice Cancel "$job"
gives 'needs io.stoked.Stoked1.read-others' "alice cannot read bob's output" alice OpenLog "$job" '@a{sv} {}'
gives 'Error.NotFound' "there is no such job" alice Cancel 999
runs "$job"
gives '()' "bob may freeze his own" bob Pause "$job"
gives '()' "and let it go on" bob Resume "$job"
gives '()' "root may end bob's job" root Cancel "$job"
usermod -aG stoked carol
job=$(submit bob second)
gives '()' "a member of the group may end bob's job" carol Cancel "$job"

# === polkit ===

install -d -m 755 /etc/polkit-1/rules.d
cat >/etc/polkit-1/rules.d/10-lab.rules <<'RULES'
polkit.addRule(function(action, subject) {
    if (action.id == "io.stoked.Stoked1.manage-others" && subject.user == "alice")
        return polkit.Result.YES;
});
RULES
systemctl restart polkit
job=$(submit bob third)
gives 'needs io.stoked.Stoked1.read-others' "a rule for one thing is none for another" alice OpenLog "$job" '@a{sv} {}'
gives '()' "a rule lets alice end bob's job" alice Cancel "$job"
systemctl mask --now --quiet polkit
job=$(submit bob fourth)
gives 'needs io.stoked.Stoked1.manage-others' "without polkit the denial stands" alice Cancel "$job"
gives '()' "and bob may end his own" bob Cancel "$job"
systemctl unmask --quiet polkit

# === Signals, clients, and the bus started anew ===

gdbus monitor --system --dest $NAME >/run/heard &
monitor=$!
job=$(submit bob hidden-name)
gives '()' "bob ends another one" bob Cancel "$job"
grep -q -m 1 "JobStateChanged.*$job.*cancelled" < <(timeout 30 tail -n +1 -f /run/heard) || fail "no signal: $(cat /run/heard)"
kill $monitor
if grep -q hidden-name /run/heard; then fail "a name was broadcast: $(cat /run/heard)"; fi
good "signals carry no names"
answer=$(python3 - <<'PYTHON'
import asyncio
from dbus_fast import BusType, Variant
from dbus_fast.aio import MessageBus

async def main():
    bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
    node = await bus.introspect("io.stoked.Stoked1", "/io/stoked/Stoked1")
    proxy = bus.get_proxy_object("io.stoked.Stoked1", "/io/stoked/Stoked1", node)
    manager = proxy.get_interface("io.stoked.Stoked1.Manager")
    jobs, _next = await manager.call_list_jobs({"state": Variant("s", "final")}, "", 100)
    print("jobs:", len(jobs), "running:", await manager.get_jobs_running())

asyncio.run(main())
PYTHON
)
[ "$answer" = "jobs: 5 running: 0" ] || fail "dbus-fast: $answer"
good "dbus-fast reads it"
# shellcheck disable=SC2016
as alice dbus-run-session -- sh -c '
    stoked --user 2>/tmp/alice.log & pid=$!
    gdbus wait --session --timeout 30 io.stoked.Stoked1
    gjs /lab/proxy.js; status=$?
    kill $pid; wait $pid; exit $status' >/tmp/gjs 2>&1 || fail "gjs: $(cat /tmp/gjs)"
grep -q cancelled /tmp/gjs || fail "gjs: $(cat /tmp/gjs)"
good "gjs sees it on a session bus"
systemctl restart dbus
gdbus wait --system --timeout 60 $NAME || fail "the name did not come back"
gives '"health"' "the name comes back with the bus" alice Summary

# === What is told of others is a setting ===

configure() {
    install -d /etc/stoked
    printf '[access]\nothers = "%s"\n' "$1" >/etc/stoked/stoked.toml
    systemctl restart stoked
    gdbus wait --system --timeout 60 $NAME || fail "the name did not come back"
}
objects() { as alice gdbus call --system --dest $NAME --object-path $ROOT --method org.freedesktop.DBus.ObjectManager.GetManagedObjects; }
# property USER JOB NAME
property() {
    as "$1" gdbus call --system --dest $NAME --object-path "$ROOT/job/$2" --method org.freedesktop.DBus.Properties.Get $NAME.Job "$3" 2>&1
}
configure states
job=$(submit bob private-name)
runs "$job"
gives "$ROOT/job/$job" "with states, others are told that there is a job" alice GetJob "$job"
case $(property alice "$job" State) in *running*) ;; *) fail "its state is not told" ;; esac
case $(property alice "$job" Name || true) in *AccessDenied*) good "but not its name" ;; *) fail "its name is told" ;; esac
case $(property bob "$job" Name) in *private-name*) good "which its owner is told" ;; *) fail "bob does not see the name" ;; esac
case $(property bob "$job" CpuPercent || true) in *'not known'*) good "and its use is told to nobody" ;; *) fail "its use is told" ;; esac
case $(call alice ListJobs '@a{sv} {}' '' 0) in *private*) fail "a name is listed" ;; *) good "names are not listed" ;; esac
gives '()' "bob ends it" bob Cancel "$job"

configure nothing
gdbus monitor --system --dest $NAME >/run/heard-nothing &
monitor=$!
job=$(submit bob private-name)
runs "$job"
gives 'Error.NotFound' "with nothing, others are told of no job" alice GetJob "$job"
gives 'Error.NotFound' "nor can they do something with it" alice Cancel "$job"
gives 'Error.NotSupported' "and its owner gets no object that all would see" bob GetJob "$job"
case $(call alice ListJobs "{'state': <'live'>}" '' 0) in *"'id'"*) fail "it is listed" ;; *) good "it is not listed" ;; esac
case $(call bob ListJobs "{'state': <'live'>}" '' 0) in *private-name*) good "but to its owner" ;; *) fail "bob does not see it" ;; esac
case $(objects) in *"/job/"*) fail "it has an object" ;; *) good "it has no object" ;; esac
gives '()' "bob ends that too" bob Cancel "$job"
# Counts are told once a second, after what would be told of the job at once.
grep -q -m 1 "JobsStarting.*uint32 0" < <(timeout 30 tail -n +1 -f /run/heard-nothing) || fail "no counts: $(cat /run/heard-nothing)"
kill $monitor
case $(cat /run/heard-nothing) in *JobAdded*|*JobStateChanged*|*"/job/"*|*Overflow*) fail "it is broadcast: $(cat /run/heard-nothing)" ;; *) good "nothing but counts is broadcast" ;; esac
printf 'all is well\n'
