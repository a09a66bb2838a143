"""What a worker promises about jobs (PROTOCOL §3-§7, §10), from outside."""

import random
import struct
import unittest

import etf
from stevedore_client import TERMINAL, Etf, Msgpack, Worker, WorkerTest, frame

LONG = {"ms": 3_600_000}  # a sleep that only cancelling ends
MAX_FRAME = 64 << 20


def start_running(worker, args=None, **options):
    """Starts a long job and returns its id once it runs."""
    before = worker.value("stats")["running"]
    id = worker.start("sleep", args or LONG, **options)
    worker.wait_for_stats(lambda stats: stats["running"] == before + 1)
    return id


class Cancelling(WorkerTest):
    def test_a_queued_job_never_runs(self):
        with Worker("--threads", 1) as worker:
            running = start_running(worker)
            queued = worker.start("sleep", LONG)
            worker.send("cancel", queued)
            reply = worker.terminal(queued)
            self.assert_error(reply, "cancelled")
            self.assert_never_ran(reply)
            worker.send("cancel", running)
            self.assert_error(worker.terminal(running), "cancelled")

    def test_a_running_job_stops_and_its_receipt_says_that_it_ran(self):
        with Worker() as worker:
            id = start_running(worker)
            worker.send("cancel", id)
            reply = worker.terminal(id)
            self.assert_error(reply, "cancelled")
            self.assertGreater(reply[-1][1], 0)

    def test_cancelling_twice_answers_once(self):
        with Worker() as worker:
            worker.send("call", 1, "sleep", LONG)
            for _ in range(3):
                worker.send("cancel", 1)
            self.assert_one_terminal_each(worker.finish(), [1])


class TimeLimits(WorkerTest):
    def test_timeout(self):
        with Worker() as worker:
            reply = worker.call("sleep", LONG, timeout=30)
            self.assert_error(reply, "timed_out", limit_ms=30)
            self.assertGreaterEqual(reply[-1][1], 30_000)

    def test_the_timeout_starts_when_the_job_does(self):
        """The job waits in the queue for much longer than it may run."""
        with Worker("--threads", 1) as worker:
            first = start_running(worker)
            waiting = worker.start("sleep", {"ms": 0}, timeout=1000)
            self.assert_error(worker.call("sleep", {"ms": 0}, queue_timeout=2000), "queue_timeout")
            worker.send("cancel", first)
            self.assert_ok(worker.terminal(waiting), None)

    def test_queue_timeout(self):
        with Worker("--threads", 1) as worker:
            start_running(worker)
            reply = worker.call("sleep", {"ms": 0}, queue_timeout=30)
            self.assert_error(reply, "queue_timeout", limit_ms=30)
            self.assert_never_ran(reply)
            self.assertGreaterEqual(reply[-1][0], 30_000)

    def test_a_limit_that_is_not_reached_changes_nothing(self):
        with Worker() as worker:
            self.assert_ok(worker.call("sleep", {"ms": 1}, timeout=2**31 - 1, queue_timeout=2**31 - 1), None)

    def test_many_limits_at_once(self):
        with Worker("--threads", 2) as worker:
            ids = [worker.start("sleep", LONG, timeout=20 + i % 7, queue_timeout=3_600_000) for i in range(40)]
            for id in ids:
                self.assert_error(worker.terminal(id), "timed_out")


class Order(WorkerTest):
    def test_priorities(self):
        with Worker("--threads", 1) as worker:
            first = start_running(worker)
            priorities = [random.Random(7).randrange(10) for _ in range(200)]
            ids = [worker.start("sleep", {"ms": 0}, priority=priority) for priority in priorities]
            worker.send("cancel", first)
            replies = [message for message in worker.finish() if message[1] in ids]
            expected = [id for _, id in sorted(zip(priorities, ids))]
            self.assertEqual([message[1] for message in replies], expected)

    def test_control_ops_are_answered_while_all_threads_are_busy(self):
        with Worker("--threads", 2) as worker:
            for _ in range(10):
                worker.start("sleep", LONG)
            for op in ("ping", "hello", "ops", "stats"):
                self.assertEqual(worker.call(op)[0], "ok")
            stats = worker.wait_for_stats(lambda stats: stats["running"] == 2)
            self.assertEqual(stats["queued"], 8)
            self.assertEqual([job["op"] for job in stats["jobs"]], ["sleep", "sleep"])

    def test_threads_run_jobs_at_the_same_time(self):
        with Worker("--threads", 8) as worker:
            for _ in range(8):
                worker.start("sleep", LONG)
            worker.wait_for_stats(lambda stats: stats["running"] == 8)


class Progress(WorkerTest):
    def progress_of(self, ms, interval):
        with Worker() as worker:
            id = worker.start("sleep", {"ms": ms}, progress=interval)
            messages = worker.finish()
            self.assert_ok(messages.pop(), None)
            self.assertTrue(all(message[:2] == ["progress", id] for message in messages), messages)
            return [tuple(message[2:]) for message in messages]

    def test_it_rises_and_its_last_value_comes(self):
        values = self.progress_of(300, 1)
        self.assertEqual(values, sorted(values))
        self.assertEqual(values[-1], (300, 300))
        self.assertGreater(len(values), 1)

    def test_it_is_limited_to_one_message_in_an_interval(self):
        """The op reports every 20 ms; with an interval of an hour only the first and the last can come."""
        values = self.progress_of(300, 3_600_000)
        self.assertLessEqual(len(values), 2)
        self.assertEqual(values[-1], (300, 300))

    def test_none_unless_asked_for(self):
        with Worker() as worker:
            worker.start("sleep", {"ms": 100})
            self.assertEqual([message[0] for message in worker.finish()], ["ok"])


class Limits(WorkerTest):
    def test_a_full_queue_is_overloaded_at_once(self):
        with Worker("--threads", 1, "--max-queue", 2) as worker:
            running = start_running(worker)
            queued = [worker.start("sleep", LONG) for _ in range(2)]
            reply = worker.call("sleep", LONG)
            self.assert_error(reply, "overloaded", limit=2, what="jobs")
            self.assert_never_ran(reply)
            self.assertEqual(worker.value("ping"), "pong")
            worker.send("cancel", queued[0])
            self.assert_error(worker.terminal(queued[0]), "cancelled")
            after = worker.start("sleep", {"ms": 0})
            worker.send("cancel", running)
            worker.send("cancel", queued[1])
            self.assert_ok(worker.terminal(after), None)

    def test_a_queue_of_too_many_bytes_is_overloaded(self):
        with Worker("--threads", 1, "--max-frame", 100_000) as worker:
            start_running(worker)
            ids = [worker.start("sleep", {"ms": 0, "ballast": b"x" * 90_000}) for _ in range(6)]
            reply = worker.terminal(ids[-1])
            self.assert_error(reply, "overloaded", what="bytes", limit=400_000)

    def test_the_largest_frame(self):
        """§1, §10: a call of exactly 64 MiB. Its echo would be larger than a frame may be, so digest it."""
        with Worker() as worker:
            prefix = etf.encode((etf.Atom("call"), 1, "digest", {"algorithm": "xxh3", "data": b""}))[:-4]
            size = MAX_FRAME - len(prefix) - 4
            worker.send_bytes(struct.pack(">I", MAX_FRAME) + prefix + struct.pack(">I", size))
            chunk = bytes(1 << 20)
            for offset in range(0, size, len(chunk)):
                worker.send_bytes(chunk[: size - offset])
            self.assertEqual(worker.terminal(1)[0], "ok")
            self.assertEqual(worker.value("ping"), "pong")

    def test_one_byte_more_than_the_largest_frame(self):
        with Worker() as worker:
            worker.send_bytes(struct.pack(">I", MAX_FRAME + 1))
            self.assertEqual(worker.rest(), [])
            self.assertEqual(worker.wait(), 65)
            self.assert_one_line(worker.stderr())

    def test_a_reply_that_would_be_larger_than_a_frame(self):
        with Worker("--max-frame", 5000) as worker:
            message = Etf.encode(("call", 1, etf.Atom("echo"), b"x" * 4978))
            self.assertEqual(len(message), 5000)  # its echo has a longer id and a receipt
            worker.send_frame(message)
            self.assert_error(worker.terminal(1), "too_large", limit=5000)
            self.assertEqual(worker.value("ping"), "pong")


class Ids(WorkerTest):
    def test_an_id_in_use_is_refused_and_the_first_call_is_not_hurt(self):
        with Worker() as worker:
            id = start_running(worker)
            worker.send("call", id, "echo", "second")
            self.assert_error(worker.terminal(id), "bad_request")
            worker.send("cancel", id)
            self.assert_error(worker.terminal(id), "cancelled")
            worker.send("call", id, "echo", "third")
            self.assert_ok(worker.terminal(id), "third")

    def test_receipts_add_up(self):
        with Worker("--threads", 1) as worker:
            first = worker.start("sleep", {"ms": 50})
            second = worker.start("sleep", {"ms": 0})
            _, ran, cpu = worker.terminal(first)[-1]
            queued = worker.terminal(second)[-1][0]
            self.assertGreaterEqual(ran, 50_000)
            self.assertLess(cpu, ran)
            self.assertGreater(queued, 0)


class Batches(WorkerTest):
    def play(self, codec, batch_size):
        with Worker("--threads", 2, codec=codec) as worker:
            messages = [("call", id, "echo", {"n": id, "data": "x" * (id % 50)}) for id in range(2000)]
            for at in range(0, len(messages), batch_size):
                worker.send_batch(messages[at : at + batch_size])
            replies = worker.finish()
            self.assert_one_terminal_each(replies, range(2000))
            for reply in replies:
                self.assertEqual(reply[2]["n"], reply[1])

    def test_in_both_codecs_and_many_sizes(self):
        for codec in (Etf, Msgpack):
            for size in (1, 2, 7, 64, 2000):
                with self.subTest(codec=codec.name, size=size):
                    self.play(codec, size)

    def test_a_reply_to_a_message_that_came_alone_comes_alone(self):
        with Worker("--threads", 2) as worker:
            for id in range(1000):
                worker.send("call", id, "sleep", {"ms": 0})
            worker.finish()
            self.assertEqual(len(worker.contents), 1001)  # the bye comes, too

    def test_a_batch_of_mixed_codecs_is_answered_in_each(self):
        with Worker() as worker:
            messages = [Etf.encode(("call", 1, "echo", 1)), Msgpack.encode(("call", 2, "echo", 2))]
            worker.send_frame(etf.encode(messages))
            self.assert_one_terminal_each(worker.finish(), [1, 2])

    def test_a_batch_from_the_worker_can_be_split_without_decoding(self):
        """§3: 131, 108, Count:32, (109, Length:32, Message)*, 106; §5: each reply has its id at a fixed place."""
        with Worker("--threads", 2) as worker:
            worker.send_batch([("call", id, "echo", id) for id in range(500)])
            worker.finish()
            for content in worker.contents:
                for message in self.split(content):
                    self.assertEqual(message[:2], b"\x83\x68")
                    self.assertEqual(message[3], 119)

    def split(self, content):
        if content[1] != 108:
            return [content]
        count, at, messages = int.from_bytes(content[2:6], "big"), 6, []
        for _ in range(count):
            self.assertEqual(content[at], 109)
            end = at + 5 + int.from_bytes(content[at + 1 : at + 5], "big")
            messages.append(content[at + 5 : end])
            at = end
        self.assertEqual(content[at:], b"\x6a")
        return messages


class Many(WorkerTest):
    COUNT = 100_000

    def test_a_hundred_thousand_calls_get_exactly_one_reply_each(self):
        """Of every fate: done, unknown, cancelled, out of time, refused."""
        chance = random.Random(1)
        with Worker("--threads", 4, "--max-queue", 1_000_000) as worker:
            for id in range(self.COUNT):
                self.send_some_call(worker, chance, id)
            replies = [message for message in worker.finish() if message[0] in TERMINAL]
            self.assert_one_terminal_each(replies, range(self.COUNT))
            kinds = {message[2] for message in replies if message[0] == "error"}
            certain = {"unknown_op", "cancelled", "bad_args", "bad_request"}
            self.assertLessEqual(certain, kinds)
            self.assertLessEqual(kinds, certain | {"timed_out", "queue_timeout"})

    def send_some_call(self, worker, chance, id):
        kind = chance.randrange(10)
        if kind < 5:
            worker.send("call", id, "echo", id)
        elif kind == 5:
            worker.send("call", id, "no.such.op", id)
        elif kind == 6:
            worker.send("call", id, "sleep", {"ms": -1})
        elif kind == 7:
            worker.send("call", id, "echo", id, {"timeout": 0})
        elif kind == 8:
            options = {"timeout": 1, "queue_timeout": 1000, "priority": chance.randrange(10)}
            worker.send("call", id, "sleep", {"ms": 0}, options)
        else:
            worker.send("call", id, "sleep", LONG)
            worker.send("cancel", id)

    def test_a_host_that_reads_only_after_it_wrote_all(self):
        """The worker never stops reading: it buffers what the host is slow to take."""
        with Worker("--threads", 2) as worker:
            data = b"".join(frame(Etf.encode(("call", id, "echo", "x" * 100))) for id in range(50_000))
            worker.send_bytes(data)
            self.assert_one_terminal_each(worker.finish(), range(50_000))


if __name__ == "__main__":
    unittest.main()
