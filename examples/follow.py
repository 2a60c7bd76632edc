#!/usr/bin/env python3
"""Shows jobs until all of them have ended: bars in place on a terminal, else a line whenever something is worth one.

Everything it knows comes from `stoke ls --json`. Exit status: 0 when all completed, 1 when one did not,
3 when the daemon does not answer any more.
"""

import argparse
import json
import os
import subprocess
import sys
import time

FINAL = {"completed", "failed", "cancelled", "timed_out", "skipped", "lost"}
LOOK_EVERY_SECONDS = 0.5
LINE_EVERY_PERCENT = 20
WIDTH = 24


def listing(text):
    """The jobs in what `stoke ls --json` printed, by id: a list, {"items": […]}, or one job a line."""
    try:
        value = json.loads(text)
    except ValueError:
        value = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(value, dict):
        value = value["items"] if "items" in value else [value]
    return {job["id"]: job for job in value}


def details(job):
    """What the job says about itself, in a few words."""
    progress = job.get("progress") or {}
    parts = []
    if "epoch" in progress and "total_epochs" in progress:
        parts.append(f"epoch {progress['epoch']:g}/{progress['total_epochs']:g}")
    metrics = progress.get("metrics") or {}
    parts += [f"{name} {metrics[name]:.3g}" for name in ("loss", "accuracy") if name in metrics]
    if "eta_seconds" in progress and job["state"] == "running":
        parts.append(f"{progress['eta_seconds']:.0f} s left")
    if job["state"] == "queued" and job.get("reason"):
        reason = job["reason"]
        reason = reason if isinstance(reason, str) else reason.get("kind", "")
        parts.append(f"waits: {reason.lower()}")
    failure = job.get("failure") or {}
    parts += [failure["message"]] if failure.get("message") else []
    return ", ".join(parts)


def percent(job):
    if job["state"] == "completed":
        return 100.0
    return (job.get("progress") or {}).get("percent")


def line(job):
    share = percent(job)
    if share is None:
        bar = " " * WIDTH + "     "
    else:
        filled = int(share / 100 * WIDTH)
        bar = "█" * filled + "·" * (WIDTH - filled) + f" {share:3.0f}%"
    return f"{job['id']:>4}  {job.get('name') or '':<10} {job['state']:<10} {bar}  {details(job)}".rstrip()


class Screen:
    """Draws the lines anew above the cursor, cut to the width, so that none wraps and spoils the count."""

    def __init__(self, out):
        self.out = out
        self.height = 0

    def show(self, jobs):
        columns = os.get_terminal_size(self.out.fileno()).columns
        if self.height:
            self.out.write(f"\x1b[{self.height}A")
        for job in jobs:
            self.out.write(f"\x1b[K{line(job)[:columns - 1]}\n")
        self.out.flush()
        self.height = len(jobs)


class Lines:
    """Prints a job when its state changed or it came a good way further."""

    def __init__(self, out):
        self.out = out
        self.seen = {}

    def show(self, jobs):
        for job in jobs:
            mark = job["state"], int((percent(job) or 0) // LINE_EVERY_PERCENT)
            if self.seen.get(job["id"]) != mark:
                self.seen[job["id"]] = mark
                self.out.write(line(job) + "\n")
        self.out.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ids", nargs="+", type=int)
    parser.add_argument("--stoke", default=os.environ.get("STOKE", "stoke"), help="the client to ask")
    chosen = parser.parse_args()
    view = Screen(sys.stdout) if sys.stdout.isatty() else Lines(sys.stdout)
    while True:
        answer = subprocess.run([chosen.stoke, "ls", "-a", "--json"], capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            print(f"error: stoke ls failed: {answer.stderr.strip()}", file=sys.stderr)
            return 3
        found = listing(answer.stdout)
        missing = [number for number in chosen.ids if number not in found]
        if missing:
            print(f"error: no job {missing[0]} in the list", file=sys.stderr)
            return 3
        jobs = [found[number] for number in chosen.ids]
        view.show(jobs)
        if all(job["state"] in FINAL for job in jobs):
            return 0 if all(job["state"] == "completed" for job in jobs) else 1
        time.sleep(LOOK_EVERY_SECONDS)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
