"""What a worker gives back unstarted when it is asked to (PROTOCOL §6, take_back), from outside."""

import random
import unittest

from stevedore_client import TERMINAL, Etf, Msgpack, Worker, WorkerTest
from test_jobs import LONG, start_running

BAD_COUNTS = (-1, 2**31, 2**70, 1.0, None, "1", {}, {"count": -1}, {"count": 2**31}, {"count": None}, [1])


class TakingBack(WorkerTest):
    def test_those_whose_turn_is_next_come_first(self):
        with Worker("--threads", 1) as worker:
            start_running(worker)
            priorities = [random.Random(7).randrange(10) for _ in range(200)]
            ids = [worker.start("sleep", LONG, priority=priority) for priority in priorities]
            order = [id for _, id in sorted(zip(priorities, ids))]
            self.assertEqual(worker.value("take_back", 50), order[:50])
            self.assertEqual(worker.value("take_back", {"count": 1}), order[50:51])
            self.assertEqual(worker.value("take_back", 2**31 - 1), order[51:])
            self.assertEqual(worker.value("take_back", 2**31 - 1), [])

    def test_none(self):
        with Worker("--threads", 1) as worker:
            self.assertEqual(worker.value("take_back", 10), [])
            start_running(worker)
            queued = worker.start("sleep", LONG)
            self.assertEqual(worker.value("take_back", 0), [])
            self.assertEqual(worker.value("take_back", {"count": 10}), [queued])

    def test_wrong_counts_take_nothing(self):
        for codec in (Etf, Msgpack):
            with Worker("--threads", 1, codec=codec) as worker:
                start_running(worker)
                queued = worker.start("sleep", LONG)
                for count in BAD_COUNTS:
                    if codec is Msgpack and count == 2**70:
                        continue
                    self.assert_error(worker.call("take_back", count), "bad_args", arg="count")
                self.assertEqual(worker.value("take_back", 1), [queued])

    def test_they_get_no_reply_and_their_ids_are_free(self):
        with Worker("--threads", 1) as worker:
            running = start_running(worker)
            limits = {"queue_timeout": 50, "timeout": 1, "kill_after": 1, "progress": 1}
            ids = [worker.start("sleep", LONG, **limits) for _ in range(10)]
            self.assertEqual(worker.value("take_back", 10), ids)
            self.assert_error(worker.call("sleep", LONG, queue_timeout=100), "queue_timeout")
            for id in ids:
                worker.send("cancel", id)  # of nobody
            for id in ids[:5]:
                worker.send("call", id, "sleep", {"ms": 0})
            worker.send("cancel", running)
            self.assert_one_terminal_each(worker.finish(), [running] + ids[:5])

    def test_a_running_job_is_not_taken(self):
        with Worker("--threads", 2) as worker:
            ids = [start_running(worker), start_running(worker)]
            self.assertEqual(worker.value("take_back", 2), [])
            for id in ids:
                worker.send("cancel", id)
                self.assert_error(worker.terminal(id), "cancelled")

    def test_stats(self):
        with Worker("--threads", 1) as worker:
            start_running(worker)
            ids = [worker.start("sleep", {"ms": 0, "ballast": b"x" * 100}) for _ in range(5)]
            self.assertEqual(worker.value("take_back", 3), ids[:3])
            stats = worker.value("stats")
            self.assertEqual([stats["taken_back"], stats["queued"]], [3, 2])
            worker.value("take_back", 2)
            stats = worker.value("stats")
            self.assertEqual([stats["taken_back"], stats["queued"], stats["queued_bytes"]], [5, 0, 0])

    def test_room_in_the_queue_is_there_again(self):
        with Worker("--threads", 1, "--max-queue", 2) as worker:
            start_running(worker)
            first = [worker.start("sleep", LONG) for _ in range(2)]
            self.assert_error(worker.call("sleep", LONG), "overloaded")
            self.assertEqual(worker.value("take_back", 2), first)
            second = [worker.start("sleep", LONG) for _ in range(2)]
            self.assertEqual(worker.value("take_back", 2), second)

    def test_while_the_worker_ends(self):
        with Worker("--threads", 1) as worker:
            running = start_running(worker)
            queued = worker.start("sleep", LONG)
            worker.send("stop")
            self.assert_error(worker.terminal(queued), "cancelled")
            self.assertEqual(worker.value("take_back", 1), [])
            worker.send("cancel", running)
            self.assert_error(worker.terminal(running), "cancelled")
            self.assertEqual(worker.rest(), [["bye", "stop"]])


class Many(WorkerTest):
    COUNT = 10_000

    def take_all(self, worker):
        taken, last = [], True
        while last:
            last = worker.value("take_back", 2**31 - 1)
            taken += last
        return taken

    def queue(self, worker, count):
        running = start_running(worker)
        ids = list(range(1_000_000_000, 1_000_000_000 + count))
        for at in range(0, count, 5):
            worker.send_batch([("call", id, "sleep", LONG) for id in ids[at : at + 5]])
        return running, ids

    def test_more_ids_than_are_taken_at_once(self):
        with Worker("--threads", 1, "--max-queue", 100_000) as worker:
            _, ids = self.queue(worker, 70_000)
            self.assertEqual(worker.value("take_back", 2**31 - 1), ids[:65_536])
            self.assertEqual(self.take_all(worker), ids[65_536:])

    def test_more_ids_than_fit_a_frame(self):
        for codec in (Etf, Msgpack):
            with Worker("--threads", 1, "--max-frame", 4096, codec=codec) as worker:
                _, ids = self.queue(worker, 700)
                first = worker.value("take_back", 700)
                self.assertLess(len(first), 700)
                self.assertEqual(first + self.take_all(worker), ids)

    def test_each_job_has_exactly_one_outcome(self):
        """Under load, with cancels, timeouts of both kinds and take_backs at once."""
        chance = random.Random(3)
        with Worker("--threads", 4) as worker:
            asked = []
            for id in range(1, self.COUNT + 1):
                worker.send("call", id, "sleep", {"ms": chance.choice((0, 0, 0, 1, 5))}, self.options(chance))
                if chance.random() < 0.3:
                    worker.send("cancel", chance.randrange(max(1, id - 20), id + 1))
                if chance.random() < 0.05:
                    asked.append(self.COUNT + 1 + len(asked))
                    worker.send("call", asked[-1], "take_back", chance.randrange(100))
            self.check(worker.finish(), asked)

    def options(self, chance):
        options = {"priority": chance.randrange(10)}
        for name, values in (("timeout", (1, 3)), ("queue_timeout", (1, 10, 1000)), ("kill_after", (1, 50))):
            if chance.random() < 0.5:
                options[name] = chance.choice(values)
        return options

    def check(self, messages, asked):
        replies = [message for message in messages if message[0] in TERMINAL]
        lists = [message for message in replies if message[1] in asked]
        self.assertEqual(sorted(message[1] for message in lists), asked)
        taken = [id for message in lists for id in message[2]]
        answered = [message[1] for message in replies if message[1] not in asked]
        self.assertEqual(sorted(taken + answered), list(range(1, self.COUNT + 1)))
        kinds = {message[2] for message in replies if message[0] == "error"}
        self.assertEqual(kinds, {"cancelled", "timed_out", "queue_timeout"})
        self.assertGreater(len(taken), 100)
        self.assertLess(len(taken), self.COUNT - 100)


if __name__ == "__main__":
    unittest.main()
