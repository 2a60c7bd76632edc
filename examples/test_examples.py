"""The demo's programs without a daemon: do they learn, resume, pack and complain as they say?"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = os.path.join(HERE, "digits", "train.py")
EVALUATE = os.path.join(HERE, "digits", "evaluate.py")
PACK = os.path.join(HERE, "pack.py")


def start(script, *args, **environment):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.Popen([sys.executable, script, *args], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(script, *args, **environment):
    process = start(script, *args, **environment)
    out, err = process.communicate()
    return process.returncode, out, err


class Digits(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = lambda name: os.path.join(folder.name, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return json.load(file)

    def test_it_learns_reports_and_passes_its_evaluation(self):
        code, out, err = run(TRAIN, "--epochs", "6", "--hidden", "24", "--out", self.path("model.json"),
                             STOKED_PROGRESS_FILE=self.path("progress.json"))
        self.assertEqual((code, err), (0, ""), out)
        told = self.read("progress.json")
        self.assertEqual((told["status"], told["current_epoch"], told["total_epochs"]), ("completed", 6, 6))
        self.assertEqual(told["current_step"], told["total_steps"])
        for name in ("loss", "eval_loss", "samples_per_second", "accuracy"):
            self.assertIsInstance(told[name], float, name)
        code, out, _ = run(EVALUATE, self.path("model.json"))
        self.assertEqual(code, 0, out)
        self.assertIn("reached the threshold of 93%", out)
        self.assertEqual(run(EVALUATE, self.path("model.json"), "--threshold", "1.01")[0], 1)

    def test_a_stopped_training_goes_on_as_if_nothing_had_happened(self):
        args = ("--epochs", "3", "--hidden", "8", "--out")
        self.assertEqual(run(TRAIN, *args, self.path("whole.json"))[0], 0)

        kept = {"STOKED_CHECKPOINT_DIR": self.path("kept")}
        process = start(TRAIN, *args, self.path("parts.json"), **kept)
        for line in process.stdout:
            if line.startswith("epoch 1/3"):
                break
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        self.assertEqual((process.returncode, err), (143, ""), out)
        self.assertTrue(os.path.exists(self.path("kept/checkpoint.json")))

        code, out, _ = run(TRAIN, *args, self.path("parts.json"), **kept)
        self.assertEqual(code, 0)
        self.assertIn("going on at epoch", out)
        self.assertEqual(self.read("parts.json"), self.read("whole.json"))
        self.assertFalse(os.path.exists(self.path("kept/checkpoint.json")))

    def test_a_broken_checkpoint_or_model_is_said_so(self):
        os.mkdir(self.path("kept"))
        with open(self.path("kept/checkpoint.json"), "w", encoding="utf-8") as file:
            file.write('{"options": ')
        code, out, _ = run(TRAIN, "--epochs", "1", "--hidden", "4", "--out", self.path("m.json"),
                           STOKED_CHECKPOINT_DIR=self.path("kept"))
        self.assertEqual(code, 0)
        self.assertIn("starting afresh", out)
        code, _, err = run(EVALUATE, self.path("absent.json"))
        self.assertEqual(code, 2)
        self.assertIn("hint: train one", err)


class Pack(unittest.TestCase):
    def test_it_packs_verifies_and_draws_a_bar(self):
        with tempfile.TemporaryDirectory() as folder:
            code, out, err = run(PACK, "--megabytes", "0.3", "--out", folder)
            self.assertEqual(code, 0, err)
            self.assertEqual(out.count("every byte came back"), 3)
            self.assertEqual(os.listdir(folder), [])
        bars = [bar for bar in err.strip().split("\r") if bar]
        shape = re.compile(r"pack: +\d+%\|.{10}\| [\d.]+[kM]?/1\.80M \[\d\d:\d\d<(\d\d:\d\d|\?), [\d.]+[kMG]?B/s, .*\]")
        for bar in bars:
            self.assertRegex(bar, shape)
        self.assertIn("100%|██████████|", bars[-1])

    def test_a_damaged_archive_is_found(self):
        sys.path.insert(0, HERE)
        self.addCleanup(sys.path.remove, HERE)
        import pack
        data = pack.enlarged(100_000)
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:
            for codec in pack.CODECS:
                path = os.path.join(folder, codec)
                pack.pack(data, codec, path, pack.Bar("pack", 1, nowhere))
                other = data[:50_000] + b"!" + data[50_001:]
                self.assertIsNone(pack.unpack(data, codec, path, pack.Bar("pack", 1, nowhere)))
                self.assertEqual(pack.unpack(other, codec, path, pack.Bar("pack", 1, nowhere)), 50_000)
                self.assertEqual(pack.unpack(data + b"x", codec, path, pack.Bar("pack", 1, nowhere)), 100_000)


FAKE_STOKE = """#!/bin/sh
# Answers with the next of the prepared listings, then with the last one for ever.
cd "$(dirname "$0")"
n=$(cat n); [ -f "$((n + 1))" ] && echo $((n + 1)) > n
cat "$n"
"""


class Follow(unittest.TestCase):
    def follow(self, *listings):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in [("n", "0"), ("stoke", FAKE_STOKE), *((str(i), t) for i, t in enumerate(listings))]:
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text)
            os.chmod(os.path.join(folder, "stoke"), 0o755)
            return run(os.path.join(HERE, "follow.py"), "--stoke", os.path.join(folder, "stoke"), "1", "2")

    def test_a_line_per_change_until_all_have_ended(self):
        one = {"id": 1, "name": "train", "state": "running", "progress": {
            "percent": 41.7, "epoch": 2, "total_epochs": 5, "eta_seconds": 7.4, "metrics": {"loss": 0.1234}}}
        two = {"id": 2, "name": "evaluate", "state": "queued", "reason": "Dependency"}
        done = [{**one, "state": "completed"}, {**two, "state": "completed"}]
        code, out, err = self.follow(json.dumps({"items": [two, one], "as_of": "e:1"}), json.dumps([two, one]),
                                     "\n".join(map(json.dumps, done)))
        self.assertEqual((code, err), (0, ""))
        lines = out.splitlines()
        self.assertEqual(len(lines), 4, out)
        self.assertIn(" 42%  epoch 2/5, loss 0.123, 7 s left", lines[0])
        self.assertIn("queued", lines[1])
        self.assertIn("waits: dependency", lines[1])
        self.assertTrue(all("completed" in line and "100%" in line for line in lines[2:]))

    def test_a_failed_job_and_a_missing_job_are_told(self):
        one = {"id": 1, "state": "failed", "failure": {"class": "exit", "message": "exit status 1"}}
        code, out, _ = self.follow(json.dumps([one, {"id": 2, "state": "completed"}]))
        self.assertEqual(code, 1)
        self.assertIn("exit status 1", out)
        code, _, err = self.follow(json.dumps([one]))
        self.assertEqual(code, 3)
        self.assertIn("no job 2", err)


if __name__ == "__main__":
    unittest.main()
