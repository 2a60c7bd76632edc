#!/usr/bin/env python3
"""Measures stoked against its own budgets and against pueue and task-spooler, in the same run on the same machine.

Every daemon is a private instance below target/bench and is gone afterwards. Ratios say how many times better
stoked is: above 1 is a win, whichever way the unit counts.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import asdict

from measure import three_digits
from peers import say
from rows import ROWS, Context

import host_rows  # noqa: F401  Its rows join the others by being read.
import sampling_rows  # noqa: F401
import stream_rows  # noqa: F401

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEERS = ("pueue", "tsp")


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.RawTextHelpFormatter,
                                     epilog="rows:\n" + "\n".join(f"  {name:8} {about}"
                                                                  for name, (_, about) in ROWS.items()))
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: minutes become seconds")
    parser.add_argument("--rows", metavar="NAME,…", default=",".join(ROWS), help="only these rows")
    parser.add_argument("--history", type=int, metavar="N", help="finished jobs in the store (10,000; quick 1,000)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers there as well")
    parser.add_argument("--bin", metavar="DIR", help="use these binaries instead of building a release")
    parser.add_argument("--peers-only", action="store_true", help="measure the peers alone")
    parser.add_argument("--no-peers", action="store_true", help="measure stoked alone")
    chosen = parser.parse_args()
    chosen.rows = [name for name in chosen.rows.split(",") if name]
    for name in chosen.rows:
        if name not in ROWS:
            parser.error(f"no row is called {name}; there are {', '.join(ROWS)}")
    if chosen.history is None:
        chosen.history = 1000 if chosen.quick else 10_000
    if chosen.history < 1:
        parser.error("--history must be at least 1")
    return chosen


def build():
    say("building the release binaries")
    subprocess.run(["cargo", "build", "--release", "--locked", "--bins"], cwd=ROOT, check=True)
    return os.path.join(ROOT, "target", "release")


def machine(place):
    """What the numbers depend on, in a line."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), platform.machine())
    disk = subprocess.run(["stat", "-f", "-c", "%T", place], capture_output=True, text=True, check=False).stdout.strip()
    return f"{os.cpu_count()} × {model}, Linux {platform.release()}, state on {disk}, load {os.getloadavg()[0]:.1f}"


def ratio(row, peer):
    """How many times better stoked is than the peer, or None where there is nothing to compare."""
    if row.stoked is None or not row.stoked or not row.peers.get(peer):
        return None
    return row.peers[peer] / row.stoked if row.better == "low" else row.stoked / row.peers[peer]


def within(row):
    """Whether the budget is kept; None where there is none."""
    if row.budget is None or row.stoked is None:
        return None
    return row.stoked <= row.budget if row.better == "low" else row.stoked >= row.budget


def cells(row):
    budget = "" if row.budget is None else f"{'≤' if row.better == 'low' else '≥'} {three_digits(row.budget)}"
    verdict = {True: "ok", False: "MISSED", None: ""}[within(row)]
    out = [row.what, "–" if row.stoked is None else three_digits(row.stoked), row.unit, budget, verdict]
    for peer in PEERS:
        value, times = row.peers.get(peer), ratio(row, peer)
        out += ["" if value is None else three_digits(value), "" if times is None else f"{three_digits(times)}×"]
    return out + [row.note]


def table(rows):
    """The rows as aligned text."""
    lines = [["", "stoked", "", "budget", "", *(cell for peer in PEERS for cell in (peer, "")), ""]]
    lines += [cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    left = {0, 2, 4, len(widths) - 1}
    return "\n".join("  ".join(cell.ljust(width) if column in left else cell.rjust(width)
                               for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in lines)


def main():
    chosen = options()
    # Ended from outside, it still takes its daemons down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = os.path.join(ROOT, "target", "bench")
    os.makedirs(home, exist_ok=True)
    binaries = None if chosen.peers_only else (os.path.abspath(chosen.bin) if chosen.bin else build())
    place = tempfile.mkdtemp(prefix="run-", dir=home)
    cache = None if chosen.no_peers else os.path.join(home, "peers")
    ctx = Context(chosen.quick, chosen.history, place, binaries, cache)
    header = machine(place)
    rows, faults = [], []
    try:
        for name in chosen.rows:
            say(f"{name}: {ROWS[name][1]}")
            try:
                for found in ROWS[name][0](ctx):
                    rows.append(found)
                    say("  " + "  ".join(cell for cell in cells(found) if cell))
            except Exception as fault:  # One row that cannot be measured must not take the others with it.
                traceback.print_exc()
                faults.append(f"{name}: {fault}")
    finally:
        shutil.rmtree(place, ignore_errors=True)

    print(f"\n{header}{' (quick)' if chosen.quick else ''}\n")
    print(table(rows))
    for fault in faults:
        print(f"\nNOT MEASURED: {fault}")
    if chosen.json:
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump({"machine": header, "quick": chosen.quick, "faults": faults, "rows": [
                {**asdict(one), "within_budget": within(one), "times_better": {peer: ratio(one, peer) for peer in PEERS}}
                for one in rows]}, file, indent=1, ensure_ascii=False)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
