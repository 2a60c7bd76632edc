"""The pieces of the benchmark that need no daemon: numbers, parsers, the client against a socket, the table."""

import os
import socket
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bench
import measure
from daemon import Client, Dechunker, HttpError, SseParser, Stream, split_head
from rows import ROWS, Row, apart, in_turn


class Numbers(unittest.TestCase):
    def test_percentiles_lie_between_neighbours(self):
        self.assertEqual(measure.median([3, 1, 2]), 2)
        self.assertEqual(measure.median([4, 1, 2, 3]), 2.5)
        self.assertEqual(measure.percentile([5], 0.99), 5)
        self.assertAlmostEqual(measure.percentile(range(101), 0.99), 99)
        self.assertEqual(measure.percentile([1, 2], 0), 1)
        self.assertEqual(measure.percentile([1, 2], 1), 2)
        with self.assertRaises(ValueError):
            measure.median([])

    def test_three_digits(self):
        for value, text in ((0, "0"), (0.1, "0.1"), (0.0123, "0.012"), (1.234, "1.23"), (9.996, "10.0"), (12.34, "12.3"),
                            (99.96, "100"), (20000, "20,000"), (-1.5, "-1.50")):
            self.assertEqual(measure.three_digits(value), text)

    def test_a_process_is_timed_and_its_failure_is_told(self):
        self.assertGreater(measure.process_seconds(["/bin/sh", "-c", "exit 0"]), 0)
        with self.assertRaisesRegex(RuntimeError, "ended with 3: no good"):
            measure.process_seconds(["/bin/sh", "-c", "echo no good >&2; exit 3"])
        medians = in_turn(2, {"stoked": (["/bin/true"], None), "tsp": (["/bin/true"], {}), "floor": (["/bin/true"], {})})
        own, peers = apart(medians)
        self.assertEqual((own, list(peers)), (medians["stoked"], ["tsp"]))

    def test_proc_files_are_read(self):
        with tempfile.TemporaryDirectory() as root:
            for task, switches in (("7", 40), ("8", 2)):
                os.makedirs(f"{root}/7/task/{task}")
                with open(f"{root}/7/task/{task}/status", "w", encoding="utf-8") as file:
                    file.write(f"Name:\tx\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t9\n")
            with open(f"{root}/7/smaps_rollup", "w", encoding="utf-8") as file:
                file.write("1-2 [rollup]\nRss: 900 kB\nPrivate_Clean: 8 kB\nPrivate_Dirty: 100 kB\nPrivate_Hugetlb: 0 kB\n")
            with open(f"{root}/7/stat", "w", encoding="utf-8") as file:
                file.write("7 (a) b (c) S 1 7 7 0 -1 4 0 0 0 0 150 50 0 0 20 0 1 0 5\n")
            switches = measure.voluntary_switches(7, root)
            self.assertEqual(sum(switches.values()), 42)
            self.assertEqual(measure.switches_between({"ended": 9, **switches}, switches), 0)
            self.assertEqual(measure.private_bytes(7, root), 108 * 1024)
            self.assertAlmostEqual(measure.cpu_seconds(7, root), 200 / os.sysconf("SC_CLK_TCK"))

    def test_waiting_ends_with_what_was_waited_for(self):
        answers = iter([False, False, True])
        measure.wait_until(lambda: next(answers), 5, "true", every=0)
        with self.assertRaisesRegex(TimeoutError, "the moon: not within 0 s"):
            measure.wait_until(lambda: False, 0, "the moon", every=0)


STREAM = (b": hello there\r\n\r\nevent: hello\ndata: {}\n\nid: e:7\nevent: state\ndata: {\"a\":\ndata: \"\xc3\xa9\"}\n\n"
          b"event:end\n\nid: only\n\n")
MESSAGES = [("hello", "{}", None), ("state", '{"a":\n"é"}', "e:7"), ("end", "", None)]


class Parsers(unittest.TestCase):
    def test_events_come_out_the_same_however_the_bytes_are_cut(self):
        for size in range(1, len(STREAM) + 1):
            parser, found = SseParser(), []
            for at in range(0, len(STREAM), size):
                found += parser.feed(STREAM[at:at + size])
            self.assertEqual(found, MESSAGES, size)

    def test_chunks_come_out_the_same_however_the_bytes_are_cut(self):
        data = b"4\r\nWiki\r\n6;x=y\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n\r\n"
        for size in range(1, len(data) + 1):
            dechunker = Dechunker()
            out = b"".join(dechunker.feed(data[at:at + size]) for at in range(0, len(data), size))
            self.assertEqual((out, dechunker.ended), (b"Wikipedia in \r\n\r\nchunks.", True), size)

    def test_a_head_is_split_only_when_it_is_complete(self):
        self.assertIsNone(split_head(b"HTTP/1.1 200 OK\r\nA: b\r\n"))
        self.assertEqual(split_head(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"),
                         (201, {"content-length": "2"}, b"{}"))


class Served(unittest.TestCase):
    """Client and stream against prepared answers on a real socket."""

    def serve(self, *answers):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "s")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()

        def run():
            peer, _ = listener.accept()
            for answer in answers:
                self.asked.append(peer.recv(1 << 16))
                for piece in answer:
                    peer.sendall(piece)
            peer.shutdown(socket.SHUT_WR)
            peer.recv(1)
            peer.close()

        self.asked = []
        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        return path

    def test_lengths_chunks_and_problems(self):
        client = Client(self.serve(
            [b"HTTP/1.1 201 Created\r\nContent-Length: 11\r\n\r\n", b'{"ids":', b"[1]}"],
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,", b"\r\n2\r\n2]\r\n0\r\n\r\n"],
            [b'HTTP/1.1 429 Too Many Requests\r\ncontent-length: 14\r\n\r\n{"title":"no"}']))
        self.addCleanup(client.close)
        self.assertEqual(client.call("POST", "/v1/jobs", {"command": ["true"]}), {"ids": [1]})
        self.assertTrue(self.asked[0].endswith(b'Content-Length: 21\r\n\r\n{"command": ["true"]}'))
        self.assertEqual(client.call("GET", "/v1/jobs"), [1, 2])
        with self.assertRaisesRegex(HttpError, 'GET /v1/groups: 429 {"title":"no"}'):
            client.call("GET", "/v1/groups")

    def stream(self, *messages):
        body = b"".join(b"%x\r\n%s\r\n" % (len(message), message) for message in messages)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        stream = Stream(self.serve([head, body]))
        self.addCleanup(stream.close)
        return stream

    @staticmethod
    def state(job, state):
        return b'event: state\ndata: {"body": {"job": %d, "state": "%s"}}\n\n' % (job, state)

    def test_a_stream_waits_for_all_jobs(self):
        stream = self.stream(b"event: hello\ndata: {}\n\n", self.state(1, b"running"), self.state(1, b"completed"),
                             self.state(2, b"completed"), self.state(3, b"failed"))
        stream.wait_final([1, 2], timeout=10)
        with self.assertRaisesRegex(RuntimeError, "job 3 ended as failed"):
            stream.wait_final([3], timeout=10)

    def test_a_lost_stream_is_an_error_at_once(self):
        stream = self.stream(b"event: hello\ndata: {}\n\n", b'event: gap\ndata: {"from": 3}\n\n')
        with self.assertRaisesRegex(RuntimeError, "dropped this reader"):
            stream.wait_final([1], timeout=10)


class Table(unittest.TestCase):
    def test_ratios_and_budgets_know_which_way_is_good(self):
        low = Row("a", "ms", "low", 2.0, 5, {"pueue": 50.0, "tsp": 1.0})
        high = Row("b", "/s", "high", 300.0, 400, {"pueue": 6.0})
        self.assertEqual((bench.ratio(low, "pueue"), bench.ratio(low, "tsp")), (25.0, 0.5))
        self.assertEqual((bench.ratio(high, "pueue"), bench.ratio(high, "tsp")), (50.0, None))
        self.assertEqual((bench.within(low), bench.within(high)), (True, False))
        self.assertIsNone(bench.within(Row("c", "ms", "low", 1.0)))
        self.assertIsNone(bench.ratio(Row("d", "ms", "low", None, 1, {"tsp": 1.0}), "tsp"))
        self.assertIsNone(bench.ratio(Row("e", "/min", "low", 0.0, 0, {"tsp": 1.0}), "tsp"))

    def test_the_table_is_aligned(self):
        text = bench.table([Row("short", "ms", "low", 2.0, 5, {"pueue": 50.0}, "why"),
                            Row("rather long", "/s", "high", None, 20000)])
        lines = text.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertIn("≤ 5.00", lines[1])
        self.assertIn("25.0×", lines[1])
        self.assertIn("≥ 20,000", lines[2])
        self.assertEqual(lines[1].index("ms"), lines[2].index("/s"))

    def test_every_row_says_what_it_measures(self):
        self.assertTrue(all(about and callable(function) for function, about in ROWS.values()))


if __name__ == "__main__":
    unittest.main()
