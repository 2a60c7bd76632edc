"""A job that turns on who supervises it: whatever it leaves, plants, sends or starts, it harms nobody and ends when told."""

import json
import os

import lab
from lab import job, sh, until


def setUpModule():
    lab.install()


def program(name, text, user="alice"):
    """A program of a user; the path of it."""
    path = f"/home/{user}/{name}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!/usr/bin/python3\nimport os, socket, sys, time\n{text}")
    os.chmod(path, 0o755)
    return path


def run(command, *options, user="alice"):
    return int(sh(f"stoke run -d {' '.join(options)} -- {command}", user))


def end(number, user="alice"):
    """Cancels a job, which must be over soon, and nothing of it left."""
    sh(f"stoke cancel --grace 0 {number}", user)
    lab.reaches(number, "cancelled")
    until(lambda: lab.unit(number) in lab.units(), False, "the unit")


NOTIFY = """
def notify(text, name=os.environ.get("NOTIFY_SOCKET")):
    address = "\\0" + name[1:] if name[0] == "@" else name
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text, address)
"""


class Attacks(lab.Case):
    def setUp(self):
        self.daemon = lab.daemon()

    def tearDown(self):
        super().tearDown()
        self.assertEqual(lab.daemon(), self.daemon, "the daemon is another one")

    def test_what_a_job_leaves_is_removed_however_deep_it_is(self):
        deep = program("deep", "os.chdir(os.path.dirname(os.environ['STOKED_PROGRESS_FILE']))\n"
                               "for _ in range(20000):\n    os.mkdir('d')\n    os.chdir('d')\n")
        number = run(deep)
        lab.reaches(number, "completed")
        until(lambda: os.listdir("/run/stoked/reports"), [], "what it left")

    def test_who_notifies_without_end_can_be_ended(self):
        flood = program("flood", NOTIFY + "for _ in range(3):\n    os.fork()\nat = 0\nwhile True:\n    at += 1\n"
                                          "    notify(b'X_STOKED_PROGRESS=%d/1000000000' % at)\n")
        number = run(flood)
        lab.reaches(number, "running")
        until(lambda: job(number).get("progress", {}).get("step", 0) > 100, True, "progress")
        self.assertEqual(sh("stoke run -- echo here", "bob"), "here")
        end(number)

    def test_nobody_else_reaches_the_socket_for_notifications(self):
        number = run(program("wait", "print(os.environ['NOTIFY_SOCKET'], flush=True)\ntime.sleep(1000)\n"))
        lab.reaches(number, "running")
        until(lambda: sh(f"stoke logs {number}") != "", True, "its name")
        name = sh(f"stoke logs {number}")
        self.assertTrue(name.startswith("/run/stoked/reports/"), name)
        forger = program("forger", NOTIFY + "notify(b'STATUS=forged', sys.argv[1])\n", "bob")
        done = sh(f"{forger} {name}", "bob", check=False)
        self.assertIn("Permission denied", done.stderr)
        # Not even where he is let in: what counts is who sends.
        sh("setfacl -m u:bob:x $(dirname {0}); setfacl -m u:bob:rw {0}".format(name), "alice")
        sh(f"{forger} {name}", "bob")
        sh(f"{program('honest', NOTIFY + chr(10) + 'notify(b`STATUS=true`, sys.argv[1])'.replace('`', chr(39)))} {name}", "alice")
        until(lambda: job(number).get("progress", {}).get("message"), "true", "what its owner says")
        end(number)

    def test_a_planted_progress_file_shows_nothing_of_others(self):
        secret = '{"message": "of-bob", "progress": 0.5}'
        sh(f"echo '{secret}' > secret && chmod 600 secret && ln -s /etc/shadow shadow-link", "bob")
        # Whoever may make links to files of others anyway.
        sh("sysctl -q fs.protected_hardlinks=0 fs.protected_symlinks=0", check=False)
        plants = {
            "a link to a file of root": "os.symlink('/etc/shadow', file)",
            "a link to a file of bob": "os.symlink('/home/bob/secret', file)",
            "a link to itself": "os.symlink(file, file)",
            "a pipe": "os.mkfifo(file)",
            "a directory": "os.mkdir(file)",
            "a socket": "socket.socket(socket.AF_UNIX).bind(file)",
            "a device": "os.symlink('/dev/zero', file)",
            "something huge": "open(file, 'w').truncate(1 << 40)",
        }
        sh("chmod 755 /home/bob")
        for what, plant in plants.items():
            planter = program("planter", f"file = os.environ['STOKED_PROGRESS_FILE']\n{plant}\nprint('there', flush=True)\ntime.sleep(1000)\n")
            number = run(planter)
            until(lambda number=number: "there" in sh(f"stoke logs {number}"), True, what)
            shown = json.dumps(job(number, "alice")) + sh("journalctl -u stoked -o cat -n 50")
            self.assertNotIn("of-bob", shown, what)
            self.assertNotIn("root:", shown, what)
            end(number)
            until(lambda: os.listdir("/run/stoked/reports"), [], what)
        with open("/home/bob/secret", encoding="utf-8") as file:
            self.assertEqual(file.read().strip(), secret)
        self.assertEqual(os.stat("/etc/shadow").st_uid, 0)
        # A file that another one has, too, under a name in the home of who may read it: it is who owns it that counts.
        os.link("/home/bob/secret", "/home/alice/hard-link")
        number = run("sleep 1000", "--progress-file ~/hard-link")
        lab.reaches(number, "running")
        end(number)
        self.assertNotIn("of-bob", json.dumps(job(number)))

    def test_a_job_reaches_nothing_of_the_daemon(self):
        number = run("sleep 1000")
        lab.reaches(number, "running")
        sh("find /run/stoked /var/lib/stoked /etc/stoked /usr/libexec/stoked -xdev > /tmp/all; chmod 644 /tmp/all")
        sh("chmod 755 /home/alice")
        reached = sh("while read -r it; do [ -w \"$it\" ] && echo \"$it\"; done < /tmp/all", "bob", check=False).stdout.split()
        self.assertEqual(reached, ["/run/stoked/stoked.sock"])
        reached = sh("while read -r it; do [ -w \"$it\" ] && echo \"$it\"; done < /tmp/all", "alice", check=False).stdout.split()
        own = f"/run/stoked/reports/{number}.1"
        self.assertEqual(sorted(reached), sorted(["/run/stoked/stoked.sock", own, f"{own}/notify"]))
        readable = sh("while read -r it; do [ -r \"$it\" ] && [ -f \"$it\" ] && echo \"$it\"; done < /tmp/all", "bob", check=False)
        programs = [f"/usr/libexec/stoked/{name}" for name in sorted(os.listdir("/usr/libexec/stoked"))]
        self.assertEqual(sorted(readable.stdout.split()), programs)
        end(number)

    def test_what_has_the_rights_of_root_is_ended_with_its_job(self):
        sh("install -m 4755 /usr/bin/sleep /usr/bin/root-sleep")
        script = "trap '' TERM HUP INT; (setsid root-sleep 76543 &); root-sleep 76543 & wait; wait"
        with open("/home/alice/stays.sh", "w", encoding="utf-8") as file:
            file.write(script)
        number = run("bash /home/alice/stays.sh")
        until(lambda: len(lab.processes("root-sleep 76543")), 2, "processes of root")
        for pid in lab.processes("root-sleep 76543"):
            with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                self.assertIn("Uid:\t1000\t0\t0\t0", file.read())
        end(number)
        self.assertEqual(lab.processes("root-sleep 76543"), [])
        sh("rm /usr/bin/root-sleep")

    def test_who_ignores_all_signals_and_hides_is_ended(self):
        hider = program("hider", "import signal\nfor it in range(1, 65):\n    try: signal.signal(it, signal.SIG_IGN)\n"
                                 "    except (OSError, ValueError): pass\n"
                                 "for _ in range(4):\n    if os.fork(): os._exit(0) if _ else None\n    else: os.setsid()\n"
                                 "time.sleep(1000)\n")
        number = run(f"sh -c '{hider} & sleep 1000'")
        until(lambda: len(lab.processes("/home/alice/hider")) > 0, True, "it")
        end(number)
        self.assertEqual(lab.processes("/home/alice/hider"), [])

    def test_a_job_cannot_leave_its_cgroup(self):
        leaver = program("leaver", "import glob\nout = 0\n"
                                   "for place in glob.glob('/sys/fs/cgroup/**/cgroup.procs', recursive=True):\n"
                                   "    try:\n        open(place, 'w').write(str(os.getpid()))\n        print('went to', place)\n"
                                   "    except OSError: out += 1\nprint('tried', out > 5)\n"
                                   "for place in glob.glob('/sys/fs/cgroup/stoked.slice/**', recursive=True):\n"
                                   "    if os.access(place, os.W_OK): print('may write', place)\n")
        number = run(leaver)
        lab.reaches(number, "completed")
        self.assertEqual(sh(f"stoke logs {number}"), "tried True")

    def test_no_limit_of_processes_makes_a_job_run_as_root(self):
        os.makedirs("/run/systemd/system/stoked-job-.service.d", exist_ok=True)
        with open("/run/systemd/system/stoked-job-.service.d/few.conf", "w", encoding="utf-8") as file:
            file.write("[Service]\nLimitNPROC=2\n")
        sh("systemctl daemon-reload")
        busy = lab.start(["bash", "-c", "for i in 1 2 3 4 5; do sleep 1000 & done; echo there; wait"], "alice")
        busy.stdout.readline()
        number = run("id -u")
        until(lambda: job(number)["state"] in ("failed", "completed"), True, "an end")
        found = job(number)
        # The kernel says no either when the user is taken on, or when the program is executed.
        self.assertEqual((found["state"], found["failure"]["class"]), ("failed", "spawn"), found)
        self.assertEqual(sh(f"stoke logs {number}"), "")
        sh("pkill -u alice sleep; rm -r /run/systemd/system/stoked-job-.service.d; systemctl daemon-reload")
        busy.communicate()

    def test_a_place_that_changes_under_it_is_entered_by_its_user_alone(self):
        """The directory, the program and the input of jobs go to and fro between what is alice's and what is not."""
        sh("install -d -m 700 -o bob /home/bob/closed && echo of-bob > /home/bob/closed/file && chmod 600 /home/bob/closed/file"
           " && chown bob /home/bob/closed/file && install -m 700 /usr/bin/id /root/closed-id")
        sh("mkdir -p mine && cp /usr/bin/id mine/id && echo of-alice > mine/file", "alice")
        # `mv -T` renames a link over the other one: at any moment one of them is there.
        swap = "while :; do for to in /root ~/mine /home/bob/closed; do ln -sfn $to new && mv -T new place; " \
               "ln -sfn $to/id new && mv -T new tool; ln -sfn $to/file new && mv -T new input; done; done"
        swapping = lab.start(["bash", "-c", swap], "alice")
        until(lambda: os.path.islink("/home/alice/input"), True, "links")
        numbers = sh("for i in $(seq 40); do stoke run -d -C ~/place --stdin ~/input -- ~/tool -u; "
                     "stoke run -d -C ~/place --stdin ~/input -- sh -c \"pwd -P; cat; cat file; ls /root\"; done", "alice").split()
        sh(f"stoke wait {' '.join(numbers)} || true", "alice")
        swapping.kill()
        swapping.communicate()
        states = {job(number)["state"] for number in numbers}
        self.assertLessEqual(states, {"completed", "failed"})
        for number in numbers:
            said = sh(f"stoke logs {number}")
            self.assertNotIn("of-bob", said)
            for line in said.splitlines():
                self.assertNotIn(line, ("0", "/root", "/home/bob/closed", "closed-id"), said)


if __name__ == "__main__":
    lab.main()
