"""Whatever happens to the daemon, its jobs go on, and how they end is known."""

import os
import subprocess

import lab
from lab import job, sh, show, submit, until


def setUpModule():
    lab.install()


def restarted(before):
    """Waits until another daemon serves than the one of before."""
    until(lambda: lab.daemon() not in (0, before) and show("stoked.service", "ActiveState")["ActiveState"] == "active",
          True, "another daemon")


def configure(text):
    """Another configuration, read again by the daemon that runs."""
    os.makedirs("/etc/stoked", exist_ok=True)
    with open("/etc/stoked/stoked.toml", "w", encoding="utf-8") as file:
        file.write(text)
    sh("systemctl reload stoked")


class Survival(lab.Case):
    def gate(self, name):
        """A job that runs until it is let go, and then ends with 23."""
        path = f"/home/alice/{name}"
        sh(f"mkfifo {path}", "alice")
        number = submit("alice", f"read it < {path}; exit 23")
        lab.reaches(number, "running")
        return number, path

    def let_go(self, number, path):
        sh(f"echo on > {path}", "alice")
        done = sh(f"stoke wait {number}", "alice", check=False)
        self.assertEqual(done.returncode, 23, done.stderr)
        self.assertEqual(job(number)["attempt"], 1)

    def another_ends_with(self, status):
        later = submit("alice", f"exit {status}")
        self.assertEqual(sh(f"stoke wait {later}", "alice", check=False).returncode, status)

    def test_a_restart_leaves_jobs_alone(self):
        number, path = self.gate("restart")
        before = lab.daemon()
        sh("systemctl restart stoked")
        self.assertNotEqual(lab.daemon(), before)
        self.assertEqual(job(number)["state"], "running")
        self.let_go(number, path)

    def test_a_daemon_that_is_killed_is_back_at_once_and_knows_everything(self):
        number, path = self.gate("kill")
        for _ in range(3):
            before = lab.daemon()
            sh("systemctl kill -s KILL stoked")
            restarted(before)
        self.assertEqual(job(number)["state"], "running")
        self.let_go(number, path)

    def test_what_ends_while_there_is_no_daemon_is_known_afterwards(self):
        number, path = self.gate("meanwhile")
        sh("systemctl stop stoked.socket stoked.service")
        pid = lab.processes(path)
        self.assertTrue(pid)
        sh(f"echo on > {path}", "alice")
        until(lambda: lab.processes(path), [], "the job")
        sh("systemctl start stoked.socket stoked.service")
        lab.reaches(number, "failed")
        self.assertEqual(job(number)["exit"], {"code": 23})

    def test_systemd_may_be_replaced_under_it(self):
        number, path = self.gate("reexec")
        sh("systemctl daemon-reexec")
        self.another_ends_with(4)
        self.let_go(number, path)

    def test_the_system_bus_may_be_restarted(self):
        number, path = self.gate("bus")
        sh("systemctl kill -s KILL dbus.service; systemctl start dbus.service")
        self.another_ends_with(5)
        self.let_go(number, path)

    def test_clients_wait_while_it_restarts(self):
        asking = subprocess.Popen(["bash", "-c", "for i in $(seq 200); do stoke ls --json >/dev/null || exit 1; done"])
        for _ in range(5):
            before = lab.daemon()
            sh("systemctl restart stoked")
            restarted(before)
        self.assertEqual(asking.wait(lab.PATIENCE), 0)

    def test_a_daemon_that_decides_nothing_any_more_is_replaced(self):
        os.makedirs("/run/systemd/system/stoked.service.d", exist_ok=True)
        with open("/run/systemd/system/stoked.service.d/watchdog.conf", "w", encoding="utf-8") as file:
            file.write("[Service]\nWatchdogSec=2s\n")
        sh("systemctl daemon-reload && systemctl restart stoked")
        number, path = self.gate("hang")
        before = lab.daemon()
        # It keeps up for as long as it lives.
        until(lambda: show("stoked.service", "WatchdogTimestamp")["WatchdogTimestamp"] != "", True, "a sign of life")
        sh(f"kill -STOP {before}")
        restarted(before)
        self.let_go(number, path)
        os.remove("/run/systemd/system/stoked.service.d/watchdog.conf")
        sh("systemctl daemon-reload && systemctl restart stoked")

    def test_jobs_end_with_the_daemon_that_is_stopped_and_not_with_one_that_starts_again(self):
        for policy, state in (("cancel", "cancelled"), ("requeue", "running")):
            configure(f'jobs.on_stop = "{policy}"\n')
            number, path = self.gate(policy)
            before = lab.daemon()
            sh("systemctl restart stoked")
            self.assertNotEqual(lab.daemon(), before)
            before = lab.daemon()
            sh("systemctl kill -s TERM stoked")
            restarted(before)
            self.assertEqual((job(number)["state"], job(number)["attempt"]), ("running", 1))
            sh("systemctl stop stoked.socket stoked.service")
            self.assertEqual(lab.processes(path), [])
            sh("systemctl start stoked.socket stoked.service")
            lab.reaches(number, state)
            self.assertEqual(job(number)["attempt"], 1 if policy == "cancel" else 2)
            sh(f"stoke cancel --grace 0 {number}", check=False)
        os.remove("/etc/stoked/stoked.toml")
        sh("systemctl reload stoked")

    def test_it_says_what_it_does(self):
        number, path = self.gate("status")
        until(lambda: "running" in show("stoked.service", "StatusText")["StatusText"], True, "the status")
        self.let_go(number, path)
        until(lambda: show("stoked.service", "StatusText")["StatusText"], "No jobs", "the status")

    def test_a_reload_is_told_and_takes_effect(self):
        configure("[groups.lab]\nparallelism = 7\n")
        # It says when it is done, which may be after the command.
        until(lambda: show("stoked.service", "ActiveState")["ActiveState"], "active", "the state")
        until(lambda: '"lab"' in sh("stoke groups --json"), True, "the group")


if __name__ == "__main__":
    lab.main()
