"""Jobs are units of their own, with the right user and place, and tell nobody what is not his."""

import json
import os
import signal

import lab
from lab import job, sh, show, submit, unit, until


def setUpModule():
    lab.install()


class Services(lab.Case):
    def test_what_an_attempt_claims_is_what_the_daemon_compares_it_with(self):
        number = submit("alice", "exec sleep 1000")
        lab.reaches(number, "running")
        with open(f"/var/lib/stoked/attempts/{number}.1/claim", encoding="utf-8") as file:
            claim = json.load(file)
        # In a container the boot has another name in the sandbox of the daemon than outside of it.
        with open(f"/proc/{lab.daemon()}/root/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            self.assertEqual(claim["boot_id"], file.read().strip())

    def test_a_job_is_a_unit_of_its_own(self):
        number = submit("alice", "exec sleep 1000", "-n train-llama")
        lab.reaches(number, "running")
        found = show(unit(number), "Description", "Slice", "MainPID", "ActiveState", "CollectMode", "Delegate")
        self.assertEqual(found["Description"], f"train-llama (job {number}.1 of alice)")
        self.assertEqual(found["Slice"], "stoked-u1000.slice")
        self.assertEqual(found["ActiveState"], "active")
        pid = job(number)["attempts"][0]["pid"]
        status, usual = self.status(pid), self.status(1)
        self.assertEqual(status["Uid"].split(), ["1000"] * 4)
        self.assertEqual(status["Gid"].split(), ["1000"] * 4)
        # Nothing of the daemon's sandbox.
        self.assertEqual(status["NoNewPrivs"], "0")
        for what in ("Seccomp", "CapBnd"):
            self.assertEqual(status[what], usual[what], what)
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            place = next(line for line in file if line.startswith("0::")).strip()
        self.assertEqual(place, f"0::/stoked.slice/stoked-u1000.slice/{unit(number)}/job")
        self.assertEqual(job(number)["attempts"][0]["containment"], "service")
        self.assertIn("train-llama", sh(f"systemctl status {unit(number)}"))
        self.assertIn("train-llama", sh(f"journalctl STOKED_JOB={number} -o cat || true") +
                      sh(f"journalctl -u {unit(number)} -o cat"))
        sh(f"stoke cancel {number}; stoke wait {number} || true", "alice")
        until(lambda: unit(number) in lab.units(), False, "the unit")

    @staticmethod
    def status(pid):
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}

    def test_supplementary_groups_and_home_are_those_of_the_user(self):
        sh("groupadd lab-gpu && usermod -aG lab-gpu carol")
        self.assertEqual(sh("stoke run -- id -Gn", "carol"), "carol lab-gpu")
        self.assertEqual(sh("cd / && stoke run -C /home/carol -- pwd", "carol"), "/home/carol")

    def test_nothing_of_a_job_is_to_be_read_by_others(self):
        number = int(sh("stoke run -d -e SECRET=hunter2 -- sh -c 'sleep 1000; echo private-argument'", "alice"))
        lab.reaches(number, "running")
        for user in ("bob", None):
            properties = sh(f"systemctl show {unit(number)}", user)
            self.assertNotIn("hunter2", properties)
            self.assertNotIn("private-argument", properties)
        for command in (f"stoke show {number} --json", f"stoke logs {number}", "stoke ls -a --json",
                        f"cat /proc/{job(number)['attempts'][0]['pid']}/environ",
                        "cat /var/lib/stoked/*/*", "ls /var/lib/stoked", "cat /run/systemd/transient/stoked-job-*",
                        "busctl tree org.freedesktop.systemd1; journalctl -n 1000"):
            done = sh(command, "bob", check=False)
            self.assertNotIn("hunter2", done.stdout + done.stderr, command)
            self.assertNotIn("private-argument", done.stdout + done.stderr, command)
        self.assertNotIn("hunter2", sh("journalctl -b -o export"))
        for command in ("cancel", "pause", "rm", "retry"):
            done = sh(f"stoke {command} {number}", "bob", check=False)
            self.assertEqual(done.returncode, 5, done.stderr)
        sh(f"stoke cancel {number}", "alice")

    def test_how_it_ended_is_told_apart(self):
        cases = (
            ("exit 7", "failed", {"code": 7}, "exit"),
            ("kill -SEGV $$", "failed", {"signal": 11}, "signal"),
            ("exit 0", "completed", {"code": 0}, None),
        )
        for script, state, ending, failure in cases:
            number = submit("alice", script)
            sh(f"stoke wait {number} || true", "alice")
            found = job(number)
            self.assertEqual(found["state"], state)
            self.assertEqual({key: found["exit"].get(key) for key in ending}, ending)
            self.assertEqual(found.get("failure", {}).get("class"), failure)
        number = submit("alice", "sleep 1000", "--timeout 1s")
        sh(f"stoke wait {number} || true", "alice")
        self.assertEqual(job(number)["state"], "timed_out")
        # Somebody else ends it, through systemd or by hand.
        number = submit("alice", "exec sleep 1000")
        lab.reaches(number, "running")
        sh(f"systemctl stop {unit(number)}")
        lab.reaches(number, "failed")
        self.assertEqual(job(number)["failure"]["class"], "signal")
        self.assertEqual(job(number)["exit"]["signal"], signal.SIGTERM)
        number = submit("alice", "exec sleep 1000")
        lab.reaches(number, "running")
        os.kill(job(number)["attempts"][0]["pid"], signal.SIGKILL)
        lab.reaches(number, "failed")
        self.assertEqual(job(number)["exit"]["signal"], signal.SIGKILL)

    def test_a_supervisor_that_is_killed_leaves_nothing_behind(self):
        number = submit("alice", "sleep 54321 & (setsid sleep 54321 &); sleep 54321")
        lab.reaches(number, "running")
        until(lambda: len(lab.processes("sleep 54321")) >= 3, True, "processes of the job")
        sh(f"systemctl kill -s KILL --kill-who=main {unit(number)}")
        lab.reaches(number, "failed")
        until(lambda: lab.processes("sleep 54321"), [], "processes of the job")
        until(lambda: unit(number) in lab.units(), False, "the unit")

    def test_a_program_that_cannot_be_started_says_why(self):
        done = sh("stoke run -- no-such-program", "alice", check=False)
        self.assertIn("no-such-program", done.stderr)
        number = int(sh("mkdir -p gone && stoke run -d --hold -C ~/gone -- true", "alice"))
        sh(f"rmdir gone && stoke release {number}; stoke wait {number} || true", "alice")
        found = job(number)
        self.assertEqual((found["state"], found["failure"]["class"]), ("failed", "spawn"))
        self.assertIn("/home/alice/gone", found["failure"]["message"])

    def test_the_doctor_knows_what_the_host_has(self):
        found = json.loads(sh("stoke doctor --json", "alice"))
        there = {it["name"]: it["is_there"] for it in found["host"]}
        self.assertTrue(there["units"] and there["journal"], there)
        self.assertFalse(there["polkit"], "its actions are not installed here")
        for feature in found["host"]:
            self.assertEqual(feature["is_there"], "how" not in feature, feature)
        self.assertIn("units", sh("stoke doctor", "alice"))

    def test_many_at_once_are_collected(self):
        sh("stoke group set lab --parallelism 20 || stoke groups set lab --parallelism 20", check=False)
        numbers = sh("for i in $(seq 60); do stoke run -d -- sh -c \"exit $((i % 3))\"; done", "bob").split()
        sh(f"stoke wait {' '.join(numbers)} || true", "bob")
        codes = [job(number)["exit"]["code"] for number in numbers]
        self.assertEqual(codes, [(i + 1) % 3 for i in range(60)])
        until(lambda: [it for it in lab.units() if it in map(unit, numbers)], [], "units")
        self.assertEqual(sh("systemctl list-units --failed --plain --no-legend 'stoked*'"), "")

    def test_limits_of_a_waiting_job_are_changed_and_taken_away(self):
        number = submit("alice", "exec sleep 1000", "--hold --memory-max 64M --tasks-max 20 --cpu-weight 50")
        sh(f"stoke edit {number} --memory-max 96M --tasks-max 0 --allowed-cpus 0", "alice")
        wanted = {"memory_max_bytes": 96 << 20, "cpu_weight": 50, "allowed_cpus": "0"}
        self.assertEqual(job(number)["limits"], wanted)
        done = sh(f"stoke edit {number} --cpu-weight 10001", "alice", check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        sh(f"stoke edit {number} --allowed-cpus all", "alice")
        sh(f"stoke release {number}", "alice")
        lab.reaches(number, "running")
        found = show(unit(number), "MemoryMax", "CPUWeight", "AllowedCPUs")
        self.assertEqual(found, {"MemoryMax": str(96 << 20), "CPUWeight": "50", "AllowedCPUs": ""})
        self.assertEqual(sh(f"stoke edit {number} --memory-max 0", "alice", check=False).returncode, 1)
        sh(f"stoke cancel {number}", "alice")


if __name__ == "__main__":
    lab.main()
