"""The row about the daemon of a host: in a booted system, where systemd starts its jobs and a bus carries what it tells."""

import json
import os
import shutil
import subprocess
import tempfile

from measure import median, percentile
from rows import Row, row

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def lay_out(binaries, place):
    """The directory that the system sees as /lab, as its tests have it, and with what measures."""
    os.mkdir(os.path.join(place, "bin"))
    for program in ("stoked", "stoke", "stoked-shim", "stoked-pam"):
        shutil.copy(os.path.join(binaries, program), os.path.join(place, "bin"))
    for part in ("systemd", "packaging", "tests/lab/cases"):
        shutil.copytree(os.path.join(ROOT, part), os.path.join(place, os.path.basename(part)))
    for file in ("in_lab.py", "daemon.py", "measure.py"):
        shutil.copy(os.path.join(ROOT, "benches", file), place)


@row("units", "a daemon of the host: starts through PID 1, and what the bus costs")
def units(ctx):
    if not ctx.binaries:
        return
    wanted = {"starts": ctx.pick(300, 40), "jobs": 10_000, "calls": ctx.pick(500, 100),
              "seconds": ctx.pick(20, 5), "settle": ctx.pick(75, 2)}
    with tempfile.TemporaryDirectory(dir=ctx.place) as place:
        lay_out(ctx.binaries, place)
        boot = [os.path.join(ROOT, "tests", "lab", "boot"), place, "python3", "-B", "/lab/in_lab.py", json.dumps(wanted)]
        done = subprocess.run(boot, capture_output=True, text=True, check=False, env={**os.environ, "LAB_SECONDS": "600"})
    if done.returncode != 0:
        raise RuntimeError(f"{done.stdout[-500:]}{done.stderr[-500:]}".strip())
    found = json.loads(done.stdout.splitlines()[-1])
    begun, seen, calls = found["begun"], found["seen"], found["summaries"]
    yield Row("queued → running through PID 1, p50", "ms", "low", median(begun), 30, note="in a container")
    yield Row("queued → running through PID 1, p99", "ms", "low", percentile(begun, 0.99), 150)
    yield Row("… exit → seen by a subscriber, p99", "ms", "low", percentile(seen, 0.99), 20)
    yield Row(f"Summary() over D-Bus, {wanted['jobs']:,} jobs, p99", "ms", "low", percentile(calls, 0.99), 5,
              note=f"p50 {median(calls):.2f}")
    yield Row("messages while nothing changes", "", "low", found["silent"], 0, note=f"in {wanted['seconds']} s")
    yield Row("messages of the busiest object", "/s", "low", found["most_per_object"], 1,
              note=f"100 jobs with 5 reports/s each: {found['messages_per_second']:.0f} messages/s in all")
    yield Row("idle daemon on the bus, resident", "MiB", "low", found["resident_mib"], 12)
