"""Users who look where they should not, and words that are meant to do something to who reads them."""

import json
import os
import re
import socket
import threading

import lab
from lab import job, sh, until


def setUpModule():
    lab.install()


# Moves the cursor, sets the title, asks the terminal to answer, hides text, turns the direction of writing.
NASTY = "\x1b[2J\x1b]0;owned\x07\x1b[6n\x9b31m\u202egnp.exe\u2066\x08\x08\x7f\rgone"
# What of a terminal the client may use itself: colours, the cursor, wrapping, erasing.
OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?(25|7)[hl]|\x1b\[[0-9]*[AJK]")


def on_a_terminal(command, user=None):
    """What a command writes to a terminal."""
    return sh(f"TERM=xterm script -qec '{command}' /dev/null < /dev/null", user, check=False).stdout


class Spies(lab.Case):
    def harmless(self, text, what):
        for line in text.split("\n"):
            left = OWN.sub("", line.rstrip("\r"))
            bad = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", left)
            self.assertIsNone(bad, f"{what}: {left!r}")

    def test_no_word_of_a_job_reaches_the_terminal_of_who_looks(self):
        nasty = json.dumps(NASTY)
        with open("/home/alice/nasty.py", "w", encoding="utf-8") as file:
            file.write(f"""#!/usr/bin/python3
import json, os, socket, sys, time
nasty = {nasty}
file = os.environ["STOKED_PROGRESS_FILE"]
with open(file + ".new", "w") as it:
    json.dump({{"current_step": 1, "total_steps": 2, "message": nasty, "phase": nasty, "unit": nasty, "status": nasty,
               nasty: 7.5, "steps": [{{"name": nasty, "state": "running", "kind": nasty, "message": nasty}}]}}, it)
os.rename(file + ".new", file)
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.sendto(b"STATUS=" + nasty.encode() + b"\\nX_STOKED_METRIC=" + nasty.encode() + b"=1", os.environ["NOTIFY_SOCKET"])
print(nasty, "said", flush=True)
time.sleep(1000)
""")
        spec = {"command": ["python3", "/home/alice/nasty.py", NASTY], "env": {"PATH": "/usr/bin:/bin", "NASTY": NASTY},
                "labels": {"stage": "x"}, "tty": True}
        # Where a word may be anything it is taken as it is, and where not it is refused in words that are harmless.
        for field in ("name", "kind", "flow", "group"):
            answer = self.ask("/v1/jobs", {**spec, field: NASTY})
            self.assertRegex(answer, r'"status":40[04]', field)
            self.harmless(answer, field)
        number = json.loads(self.ask("/v1/jobs", spec))["ids"][0]
        gone = json.loads(self.ask("/v1/jobs", {**spec, "cwd": "/home/alice/" + NASTY}))["ids"][0]
        until(lambda: b"said" in sh(f"stoke logs {number}").encode(), True, "what it says")
        until(lambda: job(number).get("progress", {}).get("step"), 1.0, "its progress")
        lab.reaches(gone, "failed")
        for command in ("stoke ls -a", f"stoke show {number}", f"stoke show {gone}", f"stoke logs {number}", "stoke ls -a --json",
                        f"stoke show {number} --json", f"timeout 5 stoke logs -f {number}", f"timeout 5 stoke watch job/{number}/*",
                        "timeout 5 stoke watch", "stoke health", f"timeout 5 stoke wait {number}", "stoke stats"):
            self.harmless(on_a_terminal(command), command)
        self.harmless(sh("journalctl -u stoked -o cat"), "the journal")
        self.harmless(sh(f"systemctl list-units --all \"stoked-*\"; systemctl show -p Description {lab.unit(number)}"), "systemd")
        answer = sh("busctl call io.stoked.Stoked1 /io/stoked/Stoked1 io.stoked.Stoked1.Manager Summary", check=False)
        self.harmless(answer.stdout + answer.stderr, "the bus")

    def ask(self, path, body, user="alice"):
        with open("/home/alice/body", "w", encoding="utf-8") as file:
            json.dump(body, file)
        return sh(f"curl -s --unix-socket {lab.SOCKET} -H content-type:application/json -d @/home/alice/body http://x{path}", user)

    def test_secrets_of_one_user_are_nowhere_for_another(self):
        number = int(sh("stoke run -d -n quiet -e TOKEN=hunter2-secret -- sh -c 'sleep 1000; : hunter2-argument'", "alice"))
        lab.reaches(number, "running")
        main = job(number)["attempts"][0]["pid"]
        with open(f"/proc/{main}/stat", encoding="utf-8") as file:
            shim = int(file.read().rsplit(")", 1)[1].split()[1])
        commands = [f"cat /proc/{pid}/{file}" for pid in (main, shim, lab.daemon()) for file in ("environ", "mem", "maps", "io", "stack", "fd/*")]
        commands += ["stoke ls -a --json", f"stoke show {number} --json", f"curl -sN -m 3 --unix-socket {lab.SOCKET} 'http://x/v1/events?after=0&snapshot=1'",
                     f"curl -s --unix-socket {lab.SOCKET} http://x/v1/operations", f"curl -s --unix-socket {lab.SOCKET} http://x/metrics",
                     f"systemctl show {lab.unit(number)}; systemctl cat {lab.unit(number)}", "journalctl -b -o export", "ps axewww -o args | grep -v grep",
                     "find / -xdev -type f -newer /proc/1/cmdline -readable -exec cat {} + 2>/dev/null | head -c 50000000"]
        for command in commands:
            done = sh(command, "bob", check=False, errors="replace")
            said = done.stdout + done.stderr
            self.assertNotIn("hunter2-secret", said, command)
            # The arguments of any process are to be seen by all on a Linux that is set up as usual.
            if not command.startswith("ps"):
                self.assertNotIn("hunter2-argument", said, command)
        for command in ("journalctl -b -o export", f"systemctl show {lab.unit(number)}", "stoke show 1 --json", "stoke ls -a --json"):
            self.assertNotIn("hunter2-secret", sh(command), command)
        # Nothing of a job is around what runs as root for it.
        for pid in (shim, lab.daemon()):
            self.assertNotIn("hunter2", sh(f"tr \"\\0\" \" \" < /proc/{pid}/environ; tr \"\\0\" \" \" < /proc/{pid}/cmdline"))
        # What can be had of a core of the supervisor belongs to root.
        for pid in (shim, lab.daemon()):
            for file in ("mem", "environ", "maps"):
                self.assertEqual(os.stat(f"/proc/{pid}/{file}").st_uid, 0)
        sh(f"stoke cancel --grace 0 {number}", "alice")

    def test_root_does_not_speak_to_a_daemon_that_a_user_plays(self):
        sh("mkdir -m 700 /run/user 2>/dev/null; chmod 755 /run/user; install -d -m 700 -o alice -g alice /run/user/4711")
        sh("mkdir -m 755 /run/user/4711/stoked", "alice")
        heard = []
        trap = socket.socket(socket.AF_UNIX)
        trap.bind("/run/user/4711/stoked/stoked.sock")
        os.chmod("/run/user/4711/stoked/stoked.sock", 0o666)
        trap.listen(8)
        trap.settimeout(1)
        over = threading.Event()

        def listen():
            while not over.is_set():
                try:
                    client, _ = trap.accept()
                except OSError:
                    continue
                client.settimeout(2)
                try:
                    heard.append(client.recv(1 << 20))
                except OSError:
                    pass
                client.close()

        playing = threading.Thread(target=listen)
        playing.start()
        os.chmod("/run/user/4711", 0o711)
        done = sh("XDG_RUNTIME_DIR=/run/user/4711 SECRET=of-root stoke run -- echo it-is-the-host", check=False)
        over.set()
        playing.join()
        trap.close()
        self.assertEqual((done.stdout.strip(), heard), ("it-is-the-host", []), done.stderr)


if __name__ == "__main__":
    lab.main()
