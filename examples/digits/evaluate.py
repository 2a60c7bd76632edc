#!/usr/bin/env python3
"""Tests a trained model on the digits it has never seen; fails below a threshold."""

import argparse
import sys

import digits


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="model.json", help="what train.py wrote (default: %(default)s)")
    parser.add_argument("--threshold", type=float, default=0.93, help="accuracy to reach (default: %(default)s)")
    chosen = parser.parse_args()

    try:
        network = digits.Network.from_dict(digits.read_json(chosen.model)["network"])
    except (OSError, ValueError, KeyError, TypeError) as fault:
        print(f"error: {chosen.model} is not a model: {fault}\nhint: train one with train.py --out {chosen.model}",
              file=sys.stderr)
        return 2

    test = digits.split(digits.load())[1]
    table = [[0] * digits.CLASSES for _ in range(digits.CLASSES)]
    for number, (pixels, digit) in enumerate(test, 1):
        table[digit][network.predict(pixels)] += 1
        if number % 60 == 0:
            print(f"[{number}/{len(test)}]", flush=True)

    print("\nrows: the digit; columns: what the model said")
    print("     " + "".join(f"{digit:4}" for digit in range(digits.CLASSES)) + "   right")
    for digit, row in enumerate(table):
        cells = "".join(f"{count:4}" if count else "   ·" for count in row)
        print(f"  {digit}  {cells}  {row[digit] / max(1, sum(row)):6.1%}")
    accuracy = sum(table[digit][digit] for digit in range(digits.CLASSES)) / len(test)
    verdict = "reached" if accuracy >= chosen.threshold else "missed"
    print(f"\naccuracy {accuracy:.2%} on {len(test)} digits: {verdict} the threshold of {chosen.threshold:.0%}")
    return 0 if accuracy >= chosen.threshold else 1


if __name__ == "__main__":
    sys.exit(main())
