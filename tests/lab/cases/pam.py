"""Sessions of PAM: what its modules decide and set holds for jobs, and whatever was opened is closed."""

import json
import os
import shutil
import signal

import lab
from lab import job, sh, submit, unit, until

SERVICE = "/etc/pam.d/stoked"
WITNESS = "/run/witness"

# Says what PAM asks of modules, and does what a test wants.
WITNESS_SCRIPT = """#!/bin/sh
echo "$PAM_TYPE $PAM_USER $PAM_SERVICE $PAM_TTY" >> /run/witness
[ ! -x /run/witness.$PAM_TYPE ] || exec /run/witness.$PAM_TYPE
"""

CONFIGURATION = '[jobs]\npam = "stoked"\n'


def setUpModule():
    write("/usr/local/bin/witness", WITNESS_SCRIPT, 0o755)
    write("/etc/stoked/stoked.toml", CONFIGURATION)
    lab.install()


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def witnessed():
    """What the witness saw, in short."""
    if not os.path.exists(WITNESS):
        return []
    with open(WITNESS, encoding="utf-8") as file:
        return [line.split()[0].removesuffix("_session") for line in file]


def run(script, user="alice", options=""):
    """The job that a script ran in, over."""
    number = int(sh(f"stoke run -d {options} -- bash -c '{script}'", user))
    sh(f"stoke wait {number} || true", user)
    return job(number)


def said(found, user="alice"):
    return sh(f"stoke logs {found['id']}", user)


def shim(number):
    return int(lab.show(unit(number), "MainPID")["MainPID"])


def keepers():
    return [pid for pid in lab.processes("stoked-pam") if os.path.basename(exe(pid)) == "stoked-pam"]


def exe(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def limits_of(pid):
    """The soft and the hard limits of a process, by name."""
    with open(f"/proc/{pid}/limits", encoding="utf-8") as file:
        return {line[:25].strip(): line[25:].split()[:2] for line in file}


class Pam(lab.Case):
    def setUp(self):
        shutil.copy("/lab/packaging/pam.d/stoked", SERVICE)
        with open(SERVICE, "a", encoding="utf-8") as file:
            file.write("session required pam_exec.so /usr/local/bin/witness\n")
        if os.path.exists(WITNESS):
            os.remove(WITNESS)

    def tearDown(self):
        super().tearDown()
        for path in ("/run/witness.open_session", "/run/witness.close_session", "/etc/nologin"):
            if os.path.exists(path):
                os.remove(path)
        # However a test ended, no session outlives its attempt.
        until(keepers, [], "keepers of sessions")
        until(lab.units, [], "units")

    def refused(self, number_or_job, *words):
        found = number_or_job if isinstance(number_or_job, dict) else job(number_or_job)
        self.assertEqual((found["state"], found["failure"]["class"]), ("failed", "spawn"), found)
        for word in words:
            self.assertIn(word, found["failure"]["message"])

    def test_limits_are_those_of_the_host(self):
        write("/etc/security/limits.d/lab.conf",
              "alice hard memlock 123\nalice soft memlock 122\nalice hard nofile 3000\nalice soft nofile 2000\n"
              "alice hard nproc 4321\nalice soft nproc 4321\n")
        number = submit("alice", "exec sleep 1000")
        lab.reaches(number, "running")
        limits = limits_of(job(number)["attempts"][0]["pid"])
        self.assertEqual(limits["Max locked memory"], [str(122 << 10), str(123 << 10)])
        self.assertEqual(limits["Max open files"], ["2000", "3000"])
        self.assertEqual(limits["Max processes"], ["4321", "4321"])
        # They are the job's, and not its supervisor's.
        supervisor = limits_of(shim(number))
        self.assertNotEqual(supervisor["Max locked memory"], limits["Max locked memory"])
        self.assertNotEqual(supervisor["Max open files"], limits["Max open files"])
        sh(f"stoke cancel --grace 0 {number}", "alice")
        os.remove("/etc/security/limits.d/lab.conf")
        # Others have what they had.
        self.assertNotEqual(said(run("ulimit -n", "bob"), "bob"), "2000")

    def test_the_environment_of_the_session_gives_way_to_the_jobs(self):
        write("/etc/security/pam_env.conf", "SITE DEFAULT=/site\nMINE DEFAULT=theirs\n")
        self.assertEqual(said(run("echo $SITE $MINE $USER", options="--env MINE=mine")), "/site mine alice")
        self.assertEqual(said(run("echo $SITE", options="--clean-env")), "/site")
        write("/etc/security/pam_env.conf", "")

    def test_groups_that_a_module_adds_are_the_jobs(self):
        sh("grep -q ^extra: /etc/group || groupadd -g 7777 extra")
        write("/etc/security/group.conf", "stoked;*;alice;Al0000-2400;extra\n")
        sh(f"sed -i 's/^auth.*/auth required pam_group.so\\nauth required pam_permit.so/' {SERVICE}")
        groups = said(run("id -G; id -u; id -ru; id -g")).split("\n")
        self.assertEqual((groups[0].split(), groups[1:]), (["1000", "7777"], ["1000", "1000", "1000"]))
        self.assertEqual(said(run("id -G", "bob"), "bob"), "1001")

    def test_who_a_job_is_for_the_audit_log(self):
        if not os.path.exists("/proc/self/loginuid"):
            self.skipTest("this kernel keeps none")
        self.assertEqual(said(run("cat /proc/self/loginuid")), "1000")

    def test_an_account_that_has_expired_starts_nothing(self):
        self.addCleanup(sh, "usermod --expiredate '' alice; chage -M -1 alice")
        waiting = submit("alice", "echo here", "--hold")
        sh("usermod --expiredate 1 alice")
        sh(f"stoke release {waiting}")
        sh(f"stoke wait {waiting} || true")
        self.refused(waiting, "expired", "alice", "pam_acct_mgmt", "chage")
        self.assertEqual(witnessed(), [])
        self.assertEqual(said(run("echo others", "bob"), "bob"), "others")
        sh("usermod --expiredate '' alice")
        sh(f"stoke retry {waiting}; stoke wait {waiting}")
        self.assertEqual(job(waiting)["state"], "completed")
        # A password that is over: there is nobody to ask for another.
        sh("echo alice:secret | chpasswd && chage -d 1 -M 1 -I -1 alice")
        self.refused(run("true"), "password", "passwd")

    def test_where_nobody_may_log_in_nothing_starts(self):
        sh(f"sed -i 's/^#account/account/' {SERVICE}")
        write("/etc/nologin", "Down for repair\nuntil noon\n")
        self.refused(run("true"), "Down for repair until noon")
        self.assertEqual(said(run("echo root", "root"), "root"), "root")
        os.remove("/etc/nologin")
        self.assertEqual(run("true")["state"], "completed")

    def test_what_is_opened_is_closed_however_a_job_ends(self):
        for script, state in (("exit 0", "completed"), ("exit 3", "failed"), ("kill -KILL $$", "failed")):
            self.assertEqual(run(script)["state"], state)
            # It is closed before the end is told.
            self.assertEqual(witnessed(), ["open", "close"])
            with open(WITNESS, encoding="utf-8") as file:
                self.assertEqual(file.readline(), "open_session alice stoked stoked\n")
            os.remove(WITNESS)
        for command in ("/no/such/command", "no-such-command", "/etc/passwd", "/home"):
            number = int(sh(f"stoke run -d -- {command}", "alice"))
            sh(f"stoke wait {number} || true", "alice")
            self.refused(number)
        self.assertEqual(witnessed(), ["open", "close"] * 4)
        os.remove(WITNESS)
        # Many at once, and those that are over in no time.
        sh("for n in $(seq 40); do echo $(stoke run -d -- true); done | xargs stoke wait", "alice")
        self.assertEqual(sorted(witnessed()), ["close"] * 40 + ["open"] * 40)

    def test_a_job_that_is_killed_with_all_it_left_is_closed_too(self):
        number = submit("alice", "setsid sleep 98765 & sleep 98765")
        lab.reaches(number, "running")
        sh(f"stoke cancel --grace 0 {number}; stoke wait {number} || true", "alice")
        self.assertEqual(job(number)["state"], "cancelled")
        self.assertEqual(lab.processes("sleep 98765"), [])
        self.assertEqual(witnessed(), ["open", "close"])

    def test_the_job_and_not_its_session_is_paused(self):
        number = submit("alice", "exec sleep 1000")
        lab.reaches(number, "running")
        sh(f"stoke pause {number}", "alice")
        lab.reaches(number, "paused")
        (keeper,) = keepers()
        with open(f"/proc/{keeper}/cgroup", encoding="utf-8") as file:
            self.assertTrue(file.read().strip().endswith(f"{unit(number)}/shim"))
        sh(f"stoke cancel --grace 0 {number}; stoke wait {number} || true", "alice")
        self.assertEqual(witnessed(), ["open", "close"])

    def test_a_daemon_that_is_killed_changes_nothing(self):
        sh("mkfifo gate", "alice")
        number = submit("alice", "read it < gate; exit 4")
        lab.reaches(number, "running")
        os.kill(lab.daemon(), signal.SIGKILL)
        sh("echo > /home/alice/gate")
        until(witnessed, ["open", "close"], "the close of the session")
        until(lambda: sh("stoke ls >/dev/null && echo up", check=False).stdout, "up\n")
        lab.reaches(number, "failed")
        self.assertEqual(job(number)["exit"], {"code": 4})
        sh("rm gate", "alice")

    def test_a_supervisor_that_is_killed_leaves_no_session(self):
        number = submit("alice", "exec sleep 1000")
        lab.reaches(number, "running")
        os.kill(shim(number), signal.SIGKILL)
        sh(f"stoke wait {number} || true", "alice")
        until(witnessed, ["open", "close"], "the close of the session")
        until(keepers, [], "keepers of sessions")

    def test_a_unit_that_systemd_stops_closes_its_session(self):
        number = submit("alice", "exec sleep 1000")
        lab.reaches(number, "running")
        sh(f"systemctl stop {unit(number)}")
        sh(f"stoke wait {number} || true", "alice")
        self.assertEqual(witnessed(), ["open", "close"])

    def test_a_keeper_that_is_killed_takes_no_job_with_it(self):
        sh("mkfifo gate", "alice")
        number = submit("alice", "read it < gate; exit 5")
        lab.reaches(number, "running")
        (keeper,) = keepers()
        os.kill(keeper, signal.SIGKILL)
        until(keepers, [])
        sh("echo > /home/alice/gate; rm /home/alice/gate")
        lab.reaches(number, "failed")
        self.assertEqual(job(number)["exit"], {"code": 5})

    def test_a_job_that_is_ended_while_its_session_opens_never_runs(self):
        sh("rm -f /run/gate /tmp/ran; mkfifo /run/gate")
        write("/run/witness.open_session", "#!/bin/sh\nread it < /run/gate\n", 0o755)
        number = submit("alice", "touch /tmp/ran")
        until(witnessed, ["open"], "the beginning of the session")
        self.assertEqual(job(number)["state"], "starting")
        sh(f"stoke cancel --grace 0 {number}", "alice")
        sh("echo > /run/gate")
        sh(f"stoke wait {number} || true", "alice")
        self.assertEqual(job(number)["state"], "cancelled")
        self.assertEqual(witnessed(), ["open", "close"])
        self.assertFalse(os.path.exists("/tmp/ran"))

    def test_a_module_that_fails_is_told(self):
        write("/run/witness.open_session", "#!/bin/sh\nexit 1\n", 0o755)
        self.refused(run("true"), "pam_open_session", "journalctl -t stoked-pam")
        self.assertEqual(witnessed(), ["open"])
        sh(f"echo 'session required pam_no_such.so' >> {SERVICE}")
        os.remove("/run/witness.open_session")
        self.refused(run("true"), "stoked")

    def test_a_failed_start_is_tried_again_as_asked(self):
        write("/run/witness.open_session", "#!/bin/sh\nrm $0\nexit 1\n", 0o755)
        spec = {"command": ["true"], "retry": {"attempts": 2, "backoff": "10ms", "on": ["spawn"]}}
        answer = sh(f"curl -sS --unix-socket {lab.SOCKET} -H content-type:application/json -d @- http://x/v1/jobs",
                    "alice", input=json.dumps(spec))
        (number,) = json.loads(answer)["ids"]
        sh(f"stoke wait {number}", "alice")
        self.assertEqual([it.get("failure", {}).get("class") for it in job(number)["attempts"]], ["spawn", None])
        self.assertEqual(witnessed(), ["open", "open", "close"])

    def test_a_service_that_is_not_there_is_named(self):
        os.remove(SERVICE)
        self.refused(run("true"), "/etc/pam.d/stoked", "jobs.pam")

    def test_a_closed_session_that_went_wrong_harms_nothing_and_is_told(self):
        write("/run/witness.close_session", "#!/bin/sh\nexit 1\n", 0o755)
        self.assertEqual(run("true")["state"], "completed")
        told = sh("journalctl --sync; journalctl -b -o cat -t stoked-job")
        self.assertIn("stoked-pam: a session was not closed well (pam_close_session", told)

    def test_it_can_be_turned_on_and_off(self):
        write("/etc/stoked/stoked.toml", "")
        sh("systemctl reload stoked")
        self.assertEqual(run("true")["state"], "completed")
        self.assertEqual(witnessed(), [])
        write("/etc/stoked/stoked.toml", CONFIGURATION)
        sh("systemctl reload stoked")
        self.assertEqual(run("true")["state"], "completed")
        self.assertEqual(witnessed(), ["open", "close"])
        features = {it["name"]: it for it in json.loads(sh("stoke doctor --json", "alice"))["host"]}
        self.assertTrue(features["PAM"]["is_there"])
        # A daemon of one's own opens none, and says so.
        sh("mkdir -p .config/stoked && cp /etc/stoked/stoked.toml .config/stoked", "alice")
        self.assertIn("# jobs.pam counts for the daemon of the host alone",
                      sh("stoked --user --check-config; rm -r .config/stoked", "alice"))


if __name__ == "__main__":
    lab.main()
