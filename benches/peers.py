"""The two tools people would compare stoked with, each as a private instance that leaves nothing behind."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from measure import marked, wait_until

PUEUE_VERSION = "4.0.4"
# The server of task-spooler 1.0 takes up to 1,000 connections, and every waiting job is one.
TSP_MOST_WAITING = 900


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def find_pueue(cache):
    """The folder with pueue and pueued of the wanted version, built on first use; None when it cannot be had."""
    on_path = shutil.which("pueue")
    for folder in (os.path.join(cache, "bin"), os.path.dirname(on_path) if on_path else None):
        if not folder or not os.path.exists(os.path.join(folder, "pueued")):
            continue
        told = subprocess.run([os.path.join(folder, "pueue"), "--version"], capture_output=True, text=True, check=False)
        if told.stdout.split()[-1:] == [PUEUE_VERSION]:
            return folder
    say(f"building pueue {PUEUE_VERSION} into {cache} (once, some minutes)")
    built = subprocess.run(["cargo", "install", "pueue", "--version", PUEUE_VERSION, "--locked", "--root", cache],
                           stdout=sys.stderr, check=False)
    if built.returncode != 0:
        say("NO PUEUE: it could not be built; its column stays empty")
        return None
    return os.path.join(cache, "bin")


def find_tsp():
    """The path of task-spooler's program, installed from the Debian package where root may; None when absent."""
    if not shutil.which("tsp") and os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing the Debian package task-spooler")
        subprocess.run(["apt-get", "install", "-y", "-q", "task-spooler"], stdout=sys.stderr, check=False)
    path = shutil.which("tsp")
    if not path:
        say("NO TASK-SPOOLER: install the package task-spooler; its column stays empty")
    return path


class Pueue:
    """A pueued of its own. `history` finished tasks are there from the start."""

    def __init__(self, folder, place, history=0):
        self.pueue, self.pueued = (os.path.join(folder, name) for name in ("pueue", "pueued"))
        self.home = tempfile.mkdtemp(prefix="pueue-", dir=place)
        # The path of a socket may have 107 bytes only.
        self.run = tempfile.mkdtemp(prefix="bench-")
        self.config = os.path.join(self.home, "pueue.yml")
        with open(self.config, "w", encoding="utf-8") as file:
            json.dump({"client": {}, "daemon": {}, "shared": {  # JSON is YAML.
                "pueue_directory": self.home, "runtime_directory": self.run, "use_unix_socket": True,
                "unix_socket_path": os.path.join(self.run, "pueue.sock")}}, file)
        self.daemon = None
        self.ready_seconds = self.start()
        if history:
            self.call("add", "--", "true")
            self.call("wait")
            self.stop_daemon()
            self.clone_history(history)
            self.ready_seconds = self.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call("kill", "--all", may_fail=True)
        self.stop_daemon()
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)

    def command(self, *args):
        return [self.pueue, "-c", self.config, *args]

    def call(self, *args, may_fail=False):
        done = subprocess.run(self.command(*args), capture_output=True, text=True, check=False)
        if done.returncode != 0 and not may_fail:
            raise RuntimeError(f"pueue {' '.join(args)}: {done.stderr.strip()[:300]}")
        return done

    def start(self):
        start = time.perf_counter()
        with open(os.path.join(self.home, "log"), "ab") as log:
            self.daemon = subprocess.Popen([self.pueued, "-c", self.config], stdout=log, stderr=log)
        # The groups are its shortest answer: a status would hold every task.
        wait_until(lambda: self.call("group", may_fail=True).returncode == 0, 30, "pueued ready")
        return time.perf_counter() - start

    def stop_daemon(self):
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(20)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()

    def clone_history(self, count):
        """Adding them one by one takes a quarter of an hour, so one finished task is written again and again."""
        path = os.path.join(self.home, "state.json")
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
        first = state["tasks"]["0"]
        for number in range(1, count):
            state["tasks"][str(number)] = {**copy.deepcopy(first), "id": number}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(state, file)

    def unfinished(self):
        tasks = json.loads(self.call("status", "--json").stdout)["tasks"].values()
        return sum(1 for task in tasks if "Done" not in task["status"])

    def drain(self, count, parallel):
        """Seconds from the start of `count` waiting tasks to the end of the last."""
        self.call("parallel", str(parallel))
        self.call("pause")
        for _ in range(count):
            self.call("add", "--", "true")
        start = time.perf_counter()
        self.call("start")
        # Seldom enough that the asking is no load: pueue answers with its whole state.
        wait_until(lambda: self.unfinished() == 0, 600, f"pueue, {count} tasks", every=0.25)
        return time.perf_counter() - start


class Tsp:
    """A task-spooler server of its own."""

    def __init__(self, program, place):
        self.tsp = program
        self.home = tempfile.mkdtemp(prefix="tsp-", dir=place)
        self.run = tempfile.mkdtemp(prefix="bench-")
        self.socket = os.path.join(self.run, "socket")
        self.env = {**os.environ, "TS_SOCKET": self.socket, "TMPDIR": self.home, "TS_MAXFINISHED": "2000"}
        self.call("-S", "1")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([self.tsp, "-K"], env=self.env, capture_output=True, check=False)
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)

    def command(self, *args):
        return [self.tsp, *args]

    def call(self, *args):
        done = subprocess.run(self.command(*args), env=self.env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"tsp {' '.join(args)}: {done.stderr.strip()[:300]}")
        return done.stdout.strip()

    def server_pid(self):
        found = marked(f"TS_SOCKET={self.socket}", "tsp")
        if not found:
            raise RuntimeError("no task-spooler server is running")
        return min(found)

    def drain(self, count, parallel):
        """Seconds from the start of `count` waiting jobs to the end of the last."""
        self.call("-S", "1")
        gate = os.path.join(self.home, "gate")
        os.mkfifo(gate)
        # With -n no id is printed, but ids are given in turn.
        first = int(self.call("sh", "-c", f"read x < {gate}")) + 1
        for _ in range(count):
            self.call("-n", "true")
        start = time.perf_counter()
        self.call("-S", str(parallel))
        with open(gate, "w", encoding="utf-8") as file:
            file.write("go\n")
        # Jobs end in about their order: whichever of the last ones is last, all of these have been waited for.
        for number in range(first + max(0, count - 2 * parallel), first + count):
            self.call("-w", str(number))
        seconds = time.perf_counter() - start
        os.unlink(gate)
        return seconds
