#!/usr/bin/env python3
"""Teaches a small network to read handwritten digits, and says how far it is.

Under stoked it reports through $STOKED_PROGRESS_FILE. Asked to end (SIGTERM) it leaves a checkpoint in
$STOKED_CHECKPOINT_DIR, or beside the model, and the next start goes on from there: the model comes out bit by bit
as if nothing had happened.
"""

import argparse
import os
import random
import signal
import sys
import time

import digits

REPORT_EVERY_SECONDS = 0.1
STOPPED = 128 + signal.SIGTERM


class Report:
    """The progress file. Without $STOKED_PROGRESS_FILE nothing is written."""

    def __init__(self, path, total_epochs, total_steps):
        self.path = path
        self.fields = {"total_epochs": total_epochs, "total_steps": total_steps}
        self.started = time.monotonic()
        self.last = 0.0
        self.samples = 0

    def tell(self, now=False, **fields):
        """Remembers fields and writes them, at most every REPORT_EVERY_SECONDS unless it must be now."""
        self.fields.update(fields)
        clock = time.monotonic()
        if not self.path or (not now and clock - self.last < REPORT_EVERY_SECONDS):
            return
        self.last = clock
        if self.samples:
            self.fields["samples_per_second"] = round(self.samples / (clock - self.started), 1)
        digits.write_json(self.path, self.fields)


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=60, help="passes over the training rows (default: %(default)s)")
    parser.add_argument("--hidden", type=int, default=48, help="hidden units (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="rows per step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.2, help="learning rate at the start (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="where the weights start (default: %(default)s)")
    parser.add_argument("--out", default="model.json", help="the model to write (default: %(default)s)")
    chosen = parser.parse_args()
    for name in ("epochs", "hidden", "batch"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return chosen


def resume(path, wanted):
    """The checkpoint at `path`, if it is one of this very training."""
    try:
        found = digits.read_json(path)
        if found["options"] == wanted:
            return digits.Network.from_dict(found["network"]), found["epoch"], found["step"], found["loss_sum"]
        print(f"{path} is of another training; starting afresh", flush=True)
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError) as fault:
        print(f"{path} is not usable ({fault}); starting afresh", flush=True)
    return None


def main():
    chosen = options()
    wanted = {name: getattr(chosen, name) for name in ("epochs", "hidden", "batch", "rate", "seed")}
    out = os.path.abspath(chosen.out)
    checkpoint = os.path.join(os.environ.get("STOKED_CHECKPOINT_DIR") or os.path.dirname(out), "checkpoint.json")

    stop = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))

    training, test = digits.split(digits.load())
    steps = -(-len(training) // chosen.batch)
    network, first_epoch, first_step, loss_sum = resume(checkpoint, wanted) or (
        digits.Network.fresh(len(training[0][0]), chosen.hidden, chosen.seed), 1, 0, 0.0)
    resumed = (first_epoch, first_step) != (1, 0)
    report = Report(os.environ.get("STOKED_PROGRESS_FILE"), chosen.epochs, steps)
    print(f"{len(training)} digits to learn from, {len(test)} to be tested on", flush=True)
    if resumed:
        print(f"going on at epoch {first_epoch}, step {first_step}", flush=True)

    for epoch in range(first_epoch, chosen.epochs + 1):
        # The order depends on the epoch alone, so that a resumed training sees what it would have seen.
        order = list(training)
        random.Random(f"{chosen.seed} {epoch}").shuffle(order)
        rate = chosen.rate * (1 - (epoch - 1) / chosen.epochs) + chosen.rate / 20
        start, first_step = first_step, 0
        loss_sum = loss_sum if start else 0.0
        for step in range(start, steps):
            if stop:
                digits.write_json(checkpoint, {"options": wanted, "network": network.to_dict(), "epoch": epoch,
                                               "step": step, "loss_sum": loss_sum})
                report.tell(now=True, status="stopped")
                print(f"asked to stop in epoch {epoch}; checkpoint in {checkpoint}", flush=True)
                return STOPPED
            batch = order[step * chosen.batch:(step + 1) * chosen.batch]
            loss_sum += network.train_batch(batch, rate)
            report.samples += len(batch)
            # Steps start again in every epoch, so how far the whole is must be said.
            done = (epoch - 1 + (step + 1) / steps) / chosen.epochs
            report.tell(status="training", progress=round(done, 5), current_epoch=epoch, current_step=step + 1,
                        loss=round(loss_sum / (step + 1), 5))
        eval_loss, accuracy = network.score(test)
        report.tell(now=True, eval_loss=round(eval_loss, 5), accuracy=round(accuracy, 5))
        print(f"epoch {epoch}/{chosen.epochs}  loss {loss_sum / steps:.4f}  "
              f"test loss {eval_loss:.4f}  test accuracy {accuracy:.2%}", flush=True)

    digits.write_json(out, {"network": network.to_dict(), "accuracy": accuracy, "options": wanted})
    if os.path.exists(checkpoint):
        os.remove(checkpoint)
    report.tell(now=True, status="completed")
    print(f"model in {out}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
