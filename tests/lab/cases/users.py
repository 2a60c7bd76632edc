"""Many users: each for himself, nobody as somebody else, and what is refused is refused with its reason."""

import json
import os
import socket

import lab
from lab import job, sh, submit, until


def setUpModule():
    lab.install()


def configure(text):
    """Another configuration, in force."""
    os.makedirs("/etc/stoked", exist_ok=True)
    with open("/etc/stoked/stoked.toml", "w", encoding="utf-8") as file:
        file.write(text)
    sh("systemctl restart stoked")


def ask(path, user, bound_to=None):
    """The answer of the socket to a request for `path`, asked as some user from a socket that may have a name."""
    entry = lab.pwd.getpwnam(user)
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        client = socket.socket(socket.AF_UNIX)
        if bound_to:
            client.bind(bound_to)
        client.connect(lab.SOCKET)
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        while data := client.recv(65536):
            theirs.sendall(data)
        os._exit(0)
    theirs.close()
    answer = b""
    while data := ours.recv(65536):
        answer += data
    os.waitpid(child, 0)
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


class Users(lab.Case):
    def tearDown(self):
        if os.path.exists("/etc/stoked/stoked.toml"):
            os.remove("/etc/stoked/stoked.toml")
            sh("systemctl restart stoked")
        super().tearDown()

    def test_others_see_that_there_is_a_job_and_can_do_nothing_with_it(self):
        number = submit("alice", "echo private-output; exec sleep 1000", "-n train", "-l stage=private-label")
        lab.reaches(number, "running")
        seen = json.loads(sh(f"stoke show {number} --json", "bob"))
        self.assertEqual((seen["name"], seen["state"], seen["owner"]["user"]), ("train", "running", "alice"))
        for hidden in ("command", "cwd", "labels", "env_names"):
            self.assertFalse(seen.get(hidden), hidden)
        self.assertNotIn("private", json.dumps(seen))
        for words in ("cancel {}", "signal {} KILL", "pause {}", "rm {}", "edit {} --name x", "logs {}", "progress --job {} 5%"):
            done = sh("stoke " + words.format(number), "bob", check=False)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertNotIn("private", done.stdout + done.stderr, words)
        self.assertEqual(job(number)["state"], "running")
        # Who administers may, and root.
        sh("usermod -aG stoked carol && systemctl restart stoked")
        sh(f"stoke pause {number}", "carol")
        lab.reaches(number, "paused")
        sh(f"stoke cancel {number} --grace 0")
        lab.reaches(number, "cancelled")
        sh("journalctl --sync")
        told = sh(f"journalctl -b -o cat MESSAGE_ID=e5b104180524463cb686c569182d6e41 STOKED_JOB={number}").splitlines()
        self.assertEqual(told, [f"carol paused job {number} of user 1000", f"root cancelled job {number} of user 1000"])
        sh("gpasswd -d carol stoked && systemctl restart stoked")

    def test_who_is_refused_is_told_what_it_takes(self):
        number = submit("alice", "exec sleep 1000")
        lab.reaches(number, "running")
        way = "run it with sudo, or ask an administrator to add you to the group stoked"
        for words, privilege in (("cancel {}", "manage-others"), ("logs {}", "read-others"),
                                 ("groups default --pause", "set-limits")):
            done = sh("stoke " + words.format(number), "bob", check=False)
            self.assertEqual(done.returncode, 5, f"{words}: {done.stderr}")
            self.assertIn(f"needs io.stoked.Stoked1.{privilege}: {way}", done.stderr)
        sh(f"stoke cancel {number}", "alice")

    def test_of_others_no_more_is_told_than_their_states(self):
        configure('[access]\nothers = "states"\n')
        number = submit("alice", "exec sleep 1000", "-n private-name", "--kind private-kind")
        lab.reaches(number, "running")
        seen = json.loads(sh(f"stoke show {number} --json", "bob"))
        self.assertEqual((seen["state"], seen["owner"]["user"]), ("running", "alice"))
        for words in ("show {}", "ls -a", "ls --json", "gpus --json", "flows"):
            self.assertNotIn("private", sh("stoke " + words.format(number), "bob"), words)
        self.assertNotIn("private", sh(f"curl -s --unix-socket {lab.SOCKET} http://x/metrics", "bob"))
        self.assertIn("private-name", sh(f"curl -s --unix-socket {lab.SOCKET} http://x/metrics", "alice"))
        status, problem = ask(f"/v1/series/query?name=job/{number}/cpu.percent", "bob")
        self.assertEqual(status, 403)
        self.assertIn("access.others", problem["detail"])
        sh(f"stoke cancel {number}", "alice")

    def test_of_others_nothing_is_told_but_how_many_jobs_there_are(self):
        configure('[access]\nothers = "nothing"\n')
        number = submit("alice", "exec sleep 1000", "-n private-name")
        lab.reaches(number, "running")
        status, problem = ask(f"/v1/jobs/{number}", "bob")
        never = ask(f"/v1/jobs/{number + 1000}", "bob")
        self.assertEqual((status, json.dumps(problem)), (404, json.dumps(never[1]).replace(str(number + 1000), str(number))))
        self.assertEqual({it["owner"]["user"] for it in ask("/v1/jobs?limit=1000", "bob")[1]["items"]} - {"bob"}, set())
        self.assertEqual(ask("/v1/operations", "bob")[1]["jobs"], [])
        done = sh(f"stoke cancel {number}", "bob", check=False)
        self.assertEqual(done.returncode, 4, done.stderr)
        for user in ("alice", "root"):
            self.assertEqual(ask(f"/v1/jobs/{number}", user)[1]["name"], "private-name", user)
        sh(f"stoke cancel {number}", "alice")

    def test_one_user_may_have_so_many_jobs_and_no_more(self):
        configure("[access]\nmax_jobs_per_user = 2\n")
        first = submit("alice", "exec sleep 1000", "--hold")
        submit("alice", "exec sleep 1000", "--hold")
        done = sh("stoke run -d -- true", "alice", check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("user alice may have 2 unfinished jobs, has 2", done.stderr)
        self.assertIn("access.max_jobs_per_user", done.stderr)
        submit("bob", "exit 0")
        for _ in range(3):
            submit(None, "exit 0")
        # Another number holds at once, and what has ended does not count.
        with open("/etc/stoked/stoked.toml", "w", encoding="utf-8") as file:
            file.write("[access]\nmax_jobs_per_user = 3\n")
        sh("systemctl reload stoked")
        read = "journalctl -b -u stoked -o cat | grep -c 'the configuration was read again' || true"
        until(lambda: sh(read) != "0", what="the configuration is read again")
        third = submit("alice", "exec sleep 1000", "--hold")
        sh(f"stoke cancel {first}", "alice")
        submit("alice", "exec sleep 1000", "--hold")
        done = sh(f"stoke retry {first}", "alice", check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("has 3, and 1 more", done.stderr)
        sh("systemctl restart stoked")
        self.assertNotEqual(sh("stoke run -d -- true", "alice", check=False).returncode, 0)
        sh(f"stoke cancel {third}", "alice")
        sh(f"stoke retry {first}", "alice")

    def test_who_asks_is_who_the_kernel_says(self):
        sh("mkdir -p /tmp/evil && chmod 777 /tmp/evil")
        number = submit("alice", "exec sleep 1000", "-n mine")
        name = "/tmp/evil/;uid=0;pid=1;"
        status, seen = ask(f"/v1/jobs/{number}", "bob", bound_to=name)
        self.assertEqual(status, 200)
        self.assertNotIn("command", seen)
        sh(f"stoke cancel {number}", "alice")

    def test_accounts_of_the_system_are_refused(self):
        for user in ("www-data", "nobody"):
            status, problem = ask("/v1/jobs", user)
            self.assertEqual(status, 403)
            self.assertIn("access.system_accounts", problem["detail"])

    def test_users_and_groups_are_allowed_and_denied(self):
        configure('[access]\nallow_groups = ["bob"]\nallow_users = ["alice"]\n')
        self.assertEqual([ask("/v1/jobs", user)[0] for user in ("alice", "bob", "carol", "root")], [200, 200, 403, 200])
        configure('[access]\ndeny_users = ["alice"]\n')
        self.assertEqual([ask("/v1/jobs", user)[0] for user in ("alice", "bob", "carol", "root")], [403, 200, 200, 200])
        done = sh("stoke ls", "alice", check=False)
        self.assertIn("access.deny_users", done.stderr)

    def test_a_home_that_nobody_else_may_enter_is_no_trouble(self):
        sh("mkdir -p deep/er && chmod 700 ~ deep deep/er", "alice")
        done = sh("cd deep/er && stoke run -- sh -c 'echo 0.5 > it; pwd'", "alice")
        self.assertEqual(done, "/home/alice/deep/er")
        # Nobody gets to where he may not go by asking for it as a directory or an input.
        for words in ("-C /root", "-C /home/bob-private", "--stdin /etc/shadow"):
            sh("mkdir -p /home/bob-private && chmod 700 /home/bob-private && chown bob /home/bob-private")
            done = sh(f"stoke run {words} -- cat", "alice", check=False)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertNotIn("root:", done.stdout, words)
        number = int(sh("stoke run -d --progress-file /etc/shadow -- sleep 1000", "alice"))
        lab.reaches(number, "running")
        self.assertNotIn("root:", json.dumps(job(number)))
        sh(f"stoke cancel {number}", "alice")

    def test_a_user_who_is_removed_leaves_jobs_that_end_as_ever(self):
        sh("useradd -m -u 1007 leaver")
        sh("mkfifo gate", "leaver")
        number = submit("leaver", "read it < gate; exit 9")
        waiting = submit("leaver", "exit 0", "--hold")
        lab.reaches(number, "running")
        sh("userdel --force leaver")
        sh("systemctl restart stoked")
        self.assertEqual(job(number)["state"], "running")
        sh("echo on > /home/leaver/gate")
        lab.reaches(number, "failed")
        self.assertEqual(job(number)["exit"]["code"], 9)
        # What has not begun cannot: there is nobody to run it as.
        sh(f"stoke release {waiting}")
        lab.reaches(waiting, "failed")
        self.assertEqual(job(waiting)["failure"]["class"], "spawn")
        self.assertIn("leaver", job(waiting)["failure"]["message"])

    def test_one_user_with_thousands_of_connections_keeps_no_other_out(self):
        with lab.crowd("alice", processes=3, each=1000):
            self.assertEqual(sh("stoke run -- echo here", "bob"), "here")

    def test_nobody_forges_what_another_job_says(self):
        number = submit("alice", "exec sleep 1000")
        lab.reaches(number, "running")
        script = f"curl -s --unix-socket {lab.SOCKET} -X POST -H content-type:application/json " \
                 f"-d \"{{\\\"percent\\\": 99}}\" http://x/v1/jobs/{number}/progress -o /dev/null -w %{{http_code}}"
        self.assertEqual(sh(f"stoke run -- sh -c '{script}'", "bob"), "403")
        notify = f"python3 -c \"import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); " \
                 f"s.sendto(b\\\"STATUS=forged\\\", \\\"/var/lib/stoked/attempts/{number}.1/notify\\\")\""
        done = sh(f"stoke run -- sh -c '{notify}'", "bob", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn("progress", job(number))
        sh(f"stoke cancel {number}", "alice")

    def test_a_job_cannot_turn_on_its_supervisor(self):
        script = "shim=$(awk \"/^PPid/{print \\$2}\" /proc/$$/status); kill -KILL $shim; kill -STOP $shim; " \
                 "cat /proc/$shim/environ /proc/$shim/maps; strace -p $shim; exit 6"
        number = submit("alice", script)
        sh(f"stoke wait {number} || true", "alice")
        self.assertEqual(job(number)["exit"], {"code": 6})


if __name__ == "__main__":
    lab.main()
