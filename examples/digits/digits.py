"""What training and evaluation share: the data, its split, and a network of one hidden layer.

Plain Python on purpose: the demo must run where nothing but Python is installed.
"""

import csv
import gzip
import json
import math
import os
import random
from operator import mul

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "optdigits.csv.gz")
CLASSES = 10
TEST_SHARE = 0.2
SPLIT_SEED = 1797


def load(path=DATA):
    """All rows as (pixels from 0 to 1, digit)."""
    with gzip.open(path, "rt", newline="") as file:
        rows = [[int(cell) for cell in row] for row in csv.reader(file)]
    return [([pixel / 16 for pixel in row[:-1]], row[-1]) for row in rows]


def split(rows):
    """(training rows, test rows), always the same ones."""
    rows = list(rows)
    random.Random(SPLIT_SEED).shuffle(rows)
    test_count = int(len(rows) * TEST_SHARE)
    return rows[test_count:], rows[:test_count]


class Network:
    """pixels → hidden units (ReLU) → ten probabilities (softmax)."""

    def __init__(self, w1, b1, w2, b2):
        self.w1, self.b1, self.w2, self.b2 = w1, b1, w2, b2

    @classmethod
    def fresh(cls, inputs, hidden, seed):
        """Weights scaled by the number of inputs (He), so that the signal neither dies nor explodes."""
        rng = random.Random(seed)

        def matrix(rows, columns):
            scale = math.sqrt(2 / columns)
            return [[rng.gauss(0, scale) for _ in range(columns)] for _ in range(rows)]

        return cls(matrix(hidden, inputs), [0.0] * hidden, matrix(CLASSES, hidden), [0.0] * CLASSES)

    def forward(self, pixels):
        """(hidden activations, probabilities)."""
        hidden = [max(0.0, bias + sum(map(mul, row, pixels))) for row, bias in zip(self.w1, self.b1)]
        scores = [bias + sum(map(mul, row, hidden)) for row, bias in zip(self.w2, self.b2)]
        top = max(scores)
        grown = [math.exp(score - top) for score in scores]
        total = sum(grown)
        return hidden, [value / total for value in grown]

    def predict(self, pixels):
        """The most probable digit."""
        probabilities = self.forward(pixels)[1]
        return probabilities.index(max(probabilities))

    def score(self, rows):
        """(mean cross-entropy, share of right answers) over rows."""
        loss, right = 0.0, 0
        for pixels, digit in rows:
            probabilities = self.forward(pixels)[1]
            loss -= math.log(max(probabilities[digit], 1e-12))
            right += probabilities.index(max(probabilities)) == digit
        return loss / len(rows), right / len(rows)

    def train_batch(self, batch, rate):
        """One step down the gradient of a mini-batch; gives back its mean loss."""
        step = rate / len(batch)
        loss = 0.0
        moves1 = [[0.0] * len(self.w1[0]) for _ in self.w1]
        moves2 = [[0.0] * len(self.w2[0]) for _ in self.w2]
        bias1, bias2 = [0.0] * len(self.b1), [0.0] * len(self.b2)
        for pixels, digit in batch:
            hidden, errors = self.forward(pixels)
            loss -= math.log(max(errors[digit], 1e-12))
            errors[digit] -= 1.0
            back = [0.0] * len(hidden)
            for unit, error in enumerate(errors):
                back = [sofar + error * weight for sofar, weight in zip(back, self.w2[unit])]
                moves2[unit] = [move + error * value for move, value in zip(moves2[unit], hidden)]
                bias2[unit] += error
            for unit, (value, error) in enumerate(zip(hidden, back)):
                if value > 0.0:
                    moves1[unit] = [move + error * pixel for move, pixel in zip(moves1[unit], pixels)]
                    bias1[unit] += error
        for weights, moves in ((self.w1, moves1), (self.w2, moves2)):
            for unit, row in enumerate(weights):
                weights[unit] = [weight - step * move for weight, move in zip(row, moves[unit])]
        self.b1 = [bias - step * move for bias, move in zip(self.b1, bias1)]
        self.b2 = [bias - step * move for bias, move in zip(self.b2, bias2)]
        return loss / len(batch)

    def to_dict(self):
        """A form that JSON can hold without losing a bit: Python writes floats so that they read back the same."""
        return {"w1": self.w1, "b1": self.b1, "w2": self.w2, "b2": self.b2}

    @classmethod
    def from_dict(cls, values):
        return cls(values["w1"], values["b1"], values["w2"], values["b2"])


def write_json(path, value):
    """Whole or not at all: a reader never sees half a file, whenever the writer is killed."""
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    draft = os.path.join(folder, f".{name}.{os.getpid()}")
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(draft, path)


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)
