#!/usr/bin/env python3
"""Packs data with three compressors, unpacks each archive and compares every byte.

It knows nothing of stoked: its progress is a bar on stderr, redrawn with a carriage return in the shape that tqdm
made familiar, and stoked reads that.
"""

import argparse
import bz2
import gzip
import hashlib
import lzma
import os
import random
import sys
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "digits", "optdigits.csv.gz")
CHUNK_BYTES = 1 << 16
REDRAW_SECONDS = 0.1

# name: (new compressor, new decompressor)
CODECS = {
    "zlib": (lambda: zlib.compressobj(6), zlib.decompressobj),
    "bz2": (lambda: bz2.BZ2Compressor(9), bz2.BZ2Decompressor),
    "lzma": (lambda: lzma.LZMACompressor(preset=6), lzma.LZMADecompressor),
}


class Bar:
    """`pack:  45%|████▌     | 5.40M/12.0M [00:03<00:04, 1.58MB/s, lzma]`"""

    WIDTH = 10
    EIGHTHS = " ▏▎▍▌▋▊▉"

    def __init__(self, title, total, out):
        self.title, self.total, self.out = title, total, out
        self.done, self.note = 0, ""
        self.started = time.monotonic()
        self.drawn = 0.0
        self.longest = 0

    def add(self, count):
        self.done += count
        now = time.monotonic()
        if now - self.drawn >= REDRAW_SECONDS or self.done >= self.total:
            self.drawn = now
            text = self.text(now - self.started)
            # Spaces wipe what a longer line before this one left on the screen.
            self.out.write("\r" + text.ljust(self.longest))
            self.out.flush()
            self.longest = max(self.longest, len(text))

    def text(self, elapsed):
        share = self.done / self.total if self.total else 1.0
        eighths = int(share * self.WIDTH * 8)
        bar = "█" * (eighths // 8)
        if len(bar) < self.WIDTH:
            bar += self.EIGHTHS[eighths % 8]
        rate = self.done / elapsed if elapsed > 0 else 0.0
        left = clock((self.total - self.done) / rate) if rate else "?"
        return (f"{self.title}: {share * 100:3.0f}%|{bar:<{self.WIDTH}}| {size(self.done)}/{size(self.total)} "
                f"[{clock(elapsed)}<{left}, {size(rate)}B/s, {self.note}]")

    def close(self):
        self.out.write("\n")
        self.out.flush()


def size(count):
    """Three digits and a power of a thousand."""
    for unit in ("", "k", "M"):
        if count < 999.5:
            return f"{count:.0f}" if not unit else f"{count:.{2 - len(str(int(count))) + 1}f}{unit}"
        count /= 1000
    return f"{count:.2f}G"


def clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes:02}:{seconds:02}"


def enlarged(bytes_wanted):
    """The digits again and again, in ever new order, so that there is something left to find for each compressor."""
    with gzip.open(DATA) as file:
        rows = file.read().splitlines(keepends=True)
    rng = random.Random(8)
    out = bytearray()
    while len(out) < bytes_wanted:
        rng.shuffle(rows)
        out += b"".join(rows)
    return bytes(out[:bytes_wanted])


def chunks(data):
    return (data[at:at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))


def pack(data, codec, path, bar):
    """Compresses `data` into a file that is whole or absent."""
    compressor = CODECS[codec][0]()
    with open(path + ".part", "wb") as file:
        for chunk in chunks(data):
            file.write(compressor.compress(chunk))
            bar.add(len(chunk))
        file.write(compressor.flush())
    os.replace(path + ".part", path)
    return os.path.getsize(path)


def unpack(data, codec, path, bar):
    """Decompresses the file and compares it with `data`; gives back the first differing place, if any."""
    decompressor = CODECS[codec][1]()
    at = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            piece = decompressor.decompress(chunk)
            if piece != data[at:at + len(piece)]:
                return at + next(i for i, byte in enumerate(piece) if data[at + i:at + i + 1] != bytes([byte]))
            at += len(piece)
            bar.add(len(piece))
    if hasattr(decompressor, "flush"):
        piece = decompressor.flush()
        if piece != data[at:at + len(piece)]:
            return at
        at += len(piece)
        bar.add(len(piece))
    return None if at == len(data) else at


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=40, help="how much to pack (default: %(default)s)")
    parser.add_argument("--out", default=".", help="folder for the archives (default: here)")
    parser.add_argument("--keep", action="store_true", help="leave the archives there")
    chosen = parser.parse_args()
    if not 0 < chosen.megabytes <= 10_000:
        parser.error("--megabytes must be above 0 and at most 10000")

    os.makedirs(chosen.out, exist_ok=True)
    data = enlarged(int(chosen.megabytes * 1e6))
    print(f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:16]}…", flush=True)
    bar = Bar("pack", 2 * len(CODECS) * len(data), sys.stderr)
    lines = []
    for codec in CODECS:
        path = os.path.join(chosen.out, f"digits.{codec}")
        bar.note = f"to {codec}"
        packed = pack(data, codec, path, bar)
        bar.note = f"from {codec}"
        wrong_at = unpack(data, codec, path, bar)
        if not chosen.keep:
            os.remove(path)
        if wrong_at is not None:
            bar.close()
            print(f"error: {path} differs from what went in at byte {wrong_at}", file=sys.stderr)
            return 1
        lines.append(f"{codec:>5}  {packed:>9} bytes  {packed / len(data):6.2%} of the size, every byte came back")
    bar.close()
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
