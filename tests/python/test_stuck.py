"""What a worker says about a job that does not stop when asked to (PROTOCOL §4.1, §5.6), from outside."""

import unittest

from stevedore_client import EXECUTABLE, Worker, WorkerTest
from test_jobs import LONG, start_running

with open(EXECUTABLE, "rb") as executable:
    TSAN = b"__tsan_init" in executable.read()  # runs signal handlers later, elsewhere


def is_stuck(id):
    return lambda message: message[:2] == ["stuck", id]


def start_hanging(worker, args, **options):
    """Starts a job that cannot be stopped and returns its id once it runs."""
    before = worker.value("stats")["running"]
    id = worker.start("fault.hang", args, **options)
    worker.wait_for_stats(lambda stats: stats["running"] == before + 1)
    return id


class Stuck(WorkerTest):
    def assert_stuck(self, message, ran_ms):
        """That it ran so long by then, at least."""
        self.assertEqual(len(message), 4)
        self.assertGreaterEqual(message[2], ran_ms * 1000)
        self.assertIsInstance(message[3], list)

    def assert_only(self, worker, *messages):
        """What else is said up to the end, but for replies to `stats`."""
        rest = [message for message in worker.finish() if message[0] != "ok" or not isinstance(message[2], dict)]
        self.assertEqual([message[:2] for message in rest], [list(message) for message in messages])

    def test_by_its_timeout_once_and_its_reply_still_comes(self):
        with Worker(plugin=True) as worker:
            id = worker.start("fault.hang", {"ms": 300}, timeout=20, kill_after=30)
            self.assert_stuck(worker.receive_where(is_stuck(id)), ran_ms=50)
            self.assert_ok(worker.terminal(id), None)
            self.assert_only(worker)

    def test_by_a_cancel(self):
        with Worker(plugin=True) as worker:
            id = start_hanging(worker, {"ms": 1000}, kill_after=30)
            worker.send("cancel", id)
            worker.send("cancel", id)
            self.assert_stuck(worker.receive_where(is_stuck(id)), ran_ms=30)
            self.assert_ok(worker.terminal(id), None)
            self.assert_only(worker)

    def test_what_asks_first_counts(self):
        hour = 3_600_000
        with Worker(plugin=True) as worker:
            id = start_hanging(worker, {}, timeout=hour, kill_after=30)
            worker.send("cancel", id)
            self.assert_stuck(worker.receive_where(is_stuck(id)), ran_ms=30)
        with Worker(plugin=True) as worker:
            id = start_hanging(worker, {}, timeout=50, kill_after=250)
            worker.send("cancel", id)
            ran_us = worker.receive_where(is_stuck(id))[2]
            self.assertGreaterEqual(ran_us, 250_000)

    def test_cancelled_while_its_timeout_is_over(self):
        """The cancel does not give it more time, nor does it make it stuck a second time."""
        with Worker(plugin=True) as worker:
            id = worker.start("fault.hang", {"ms": 500}, timeout=20, kill_after=30)
            worker.receive_where(is_stuck(id))
            worker.send("cancel", id)
            worker.terminal(id)
            self.assert_only(worker)

    def test_a_job_that_stops_in_time_is_not(self):
        with Worker("--kill-after", 2**31 - 1) as worker:
            self.assert_error(worker.call("sleep", LONG, timeout=20), "timed_out")
            id = start_running(worker)
            worker.send("cancel", id)
            self.assert_error(worker.terminal(id), "cancelled")
            self.assertEqual(worker.finish(), [])

    def test_a_job_that_nobody_asked_to_stop_is_not(self):
        with Worker("--kill-after", 1, plugin=True) as worker:
            worker.start("fault.hang", {"ms": 200})
            worker.start("fault.hang", {"ms": 200}, timeout=3_600_000)
            self.assertEqual([message[0] for message in worker.finish()], ["ok", "ok"])

    def test_never_unless_asked_for(self):
        with Worker(plugin=True) as worker:
            id = start_hanging(worker, {"ms": 300}, timeout=10)
            worker.send("cancel", id)
            self.assert_only(worker, ("ok", id))

    def test_a_job_that_waits_is_not_and_its_time_starts_when_it_does(self):
        """It waits for far longer than it may run and hang on."""
        with Worker("--threads", 1, plugin=True) as worker:
            first = start_running(worker)
            waiting = worker.start("fault.hang", {"ms": 500}, timeout=50, kill_after=50)
            self.assert_error(worker.call("sleep", {"ms": 0}, queue_timeout=300), "queue_timeout")
            worker.send("cancel", first)
            message = worker.receive_where(is_stuck(waiting))
            self.assert_stuck(message, ran_ms=100)
            self.assertLess(message[2], 490_000)
            self.assert_ok(worker.terminal(waiting), None)
            self.assertEqual([message[:2] for message in worker.finish()], [["error", first]])

    def test_from_the_command_line_and_the_option_comes_first(self):
        with Worker("--threads", 2, "--kill-after", 20, plugin=True) as worker:
            patient = worker.start("fault.hang", {"ms": 300}, timeout=10, kill_after=3_600_000)
            hasty = worker.start("fault.hang", {"ms": 300}, timeout=10)
            self.assert_stuck(worker.receive_where(is_stuck(hasty)), ran_ms=30)
            self.assert_ok(worker.terminal(patient), None)
            self.assert_ok(worker.terminal(hasty), None)
            self.assert_only(worker)

    def test_progress_goes_on_at_its_own_pace(self):
        """An hour's interval: that the job is looked at in between does not report more often."""
        with Worker() as worker:
            worker.start("sleep", {"ms": 300}, progress=3_600_000, timeout=3_600_000, kill_after=1)
            worker.start("sleep", {"ms": 300}, progress=3_600_000, queue_timeout=50)
            tags = [message[:2] for message in worker.finish() if message[0] == "progress"]
            self.assertLessEqual(len(tags), 2)

    def test_stats_flag_it(self):
        with Worker("--threads", 2, plugin=True) as worker:
            fine = start_running(worker)
            id = worker.start("fault.hang", {}, timeout=10, kill_after=10)
            worker.receive_where(is_stuck(id))
            jobs = {job["id"]: job["stuck"] for job in worker.value("stats")["jobs"]}
            self.assertEqual(jobs, {fine: False, id: True})

    def test_neighbours_are_not_disturbed(self):
        with Worker("--threads", 3, plugin=True) as worker:
            id = worker.start("fault.hang", {}, timeout=10, kill_after=10)
            ids = [worker.start("sleep", {"ms": 20}) for _ in range(10)]
            worker.receive_where(is_stuck(id))
            for id in ids:
                self.assert_ok(worker.terminal(id), None)

    def stack_of(self, *options, **args):
        with Worker(plugin=True, *options) as worker:
            id = worker.start("fault.hang", args, timeout=20, kill_after=50)
            stack = worker.receive_where(is_stuck(id))[3]
            self.assertTrue(all(isinstance(frame, str) and frame for frame in stack), stack)
            if "ms" in args:
                self.assert_ok(worker.terminal(id), None)  # the op has survived being looked at
            else:
                self.assertEqual(worker.value("ping"), "pong")
            return stack

    def assert_function(self, name, stack):
        self.assertTrue(any(frame.startswith(name + "+0x") for frame in stack), stack)
        self.assertTrue(any("fault.so" in frame for frame in stack), stack)

    @unittest.skipIf(TSAN, "the stack in a handler is not that of the op")
    def test_the_stack_tells_where_it_is(self):
        self.assert_function("hang_busy", self.stack_of(mode="busy"))
        self.assert_function("hang_busy", self.stack_of(mode="busy", ms=300))
        self.assert_function("hang_blocked", self.stack_of(mode="blocked", ms=300))
        self.assert_function("hang_deadlocked", self.stack_of(mode="blocked"))

    @unittest.skipIf(TSAN, "the stack in a handler is not that of the op")
    def test_each_of_many_has_its_own_stack(self):
        with Worker("--threads", 8, plugin=True) as worker:
            modes = ("blocked", "busy") * 4
            ids = [worker.start("fault.hang", {"mode": mode, "ms": 2000}, timeout=20, kill_after=50) for mode in modes]
            for id, mode in zip(ids, modes):
                self.assert_function("hang_" + mode, worker.receive_where(is_stuck(id))[3])

    def test_nothing_follows_the_reply_of_an_abandoned_job(self):
        """§4.3: it is answered `cancelled` half a second after its grace, and ends with the process."""
        with Worker("--threads", 1, plugin=True) as worker:
            id = start_hanging(worker, {}, timeout=1, kill_after=3_600_000, progress=1)
            worker.send("stop", 0)
            self.assert_error(worker.terminal(id), "cancelled")
            self.assertEqual([message[0] for message in worker.rest()], ["bye"])


if __name__ == "__main__":
    unittest.main()
