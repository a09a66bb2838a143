"""The plugin `fault`: every way to misbehave does what it says, as far as it can be seen from outside."""

import signal
import unittest

from stevedore_client import SIGNALS_KILL, Worker, WorkerTest



class FaultTest(WorkerTest):
    def start(self, *options):
        return self.enterContext(Worker("--threads", 2, *options, plugin=True, env=SIGNALS_KILL))

    def assert_bad_arg(self, worker, op, args, arg):
        self.assert_error(worker.call(op, args), "bad_args", arg=arg)


class Crash(FaultTest):
    def assert_dies_of(self, name, args):
        worker = self.start()
        worker.start("fault.crash", args)
        self.assertEqual(worker.rest(), [], "a reply, or half a frame")
        self.assertEqual(worker.wait(), -getattr(signal, f"SIG{name}"))

    def test_every_signal_by_its_cause(self):
        for name in ("SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS", "TERM", "KILL"):
            with self.subTest(signal=name):
                self.assert_dies_of(name, {"signal": name})

    def test_every_signal_raised(self):
        for name in ("SEGV", "BUS", "FPE", "ILL", "ABRT"):
            with self.subTest(signal=name):
                self.assert_dies_of(name, {"signal": name, "how": "raise"})

    def test_segv_is_the_default(self):
        self.assert_dies_of("SEGV", {})

    def test_stack_overflow(self):
        self.assert_dies_of("SEGV", {"how": "stack"})

    def test_refuses(self):
        worker = self.start()
        for arg, args in [("signal", {"signal": "HUP"}), ("signal", {"signal": 11}), ("how", {"how": "why"}),
                          ("how", {"signal": "BUS", "how": "stack"})]:
            self.assert_bad_arg(worker, "fault.crash", args, arg)


class Exit(FaultTest):
    def test_code(self):
        for code in (0, 1, 42, 255):
            worker = self.start()
            worker.start("fault.exit", {"code": code})
            self.assertEqual(worker.rest(), [])
            self.assertEqual(worker.wait(), code)

    def test_exit_of_a_careless_library_ends_the_process(self):
        """Destructors run, and libuv's waits for threads: whatever comes of it, the process has to end."""
        worker = self.start()
        worker.start("fault.exit", {"code": 3, "quick": False})
        self.assertEqual(worker.rest(), [])
        self.assertNotEqual(worker.wait(), 0)

    def test_refuses(self):
        worker = self.start()
        for code in (-1, 256, "0"):
            self.assert_bad_arg(worker, "fault.exit", {"code": code}, "code")
        self.assert_bad_arg(worker, "fault.exit", {"quick": 1}, "quick")


class Hang(FaultTest):
    def test_does_not_stop_but_others_go_on(self):
        for mode in ("blocked", "busy"):
            worker = self.start()
            id = worker.start("fault.hang", {"mode": mode})
            is_running = lambda stats: [job["id"] for job in stats["jobs"]] == [id]
            worker.wait_for_stats(is_running)
            worker.send("cancel", id)
            self.assertEqual(worker.value("echo", mode), mode)
            self.assertEqual(worker.value("sleep", {"ms": 1}), None)
            worker.wait_for_stats(is_running)

    def test_for_a_while(self):
        worker = self.start()
        for mode in ("blocked", "busy"):
            reply = worker.call("fault.hang", {"mode": mode, "ms": 20})
            self.assert_ok(reply, None)
            self.assertGreaterEqual(reply[3][1], 20_000)

    def test_refuses(self):
        worker = self.start()
        self.assert_bad_arg(worker, "fault.hang", {"mode": "lazy"}, "mode")
        self.assert_bad_arg(worker, "fault.hang", {"ms": -1}, "ms")


class Spin(FaultTest):
    def test_uses_a_cpu(self):
        reply = self.start().call("fault.spin", {"ms": 50})
        self.assert_ok(reply, None)
        self.assertGreaterEqual(reply[3][1], 50_000)
        self.assertGreater(reply[3][2], 0)

    def test_stops_when_cancelled(self):
        worker = self.start()
        id = worker.start("fault.spin", {"ms": 86_400_000}, progress=1)
        worker.receive_where(lambda it: it[:2] == ["progress", id] and it[3] == 86_400_000)
        worker.send("cancel", id)
        self.assert_error(worker.terminal(id), "cancelled")

    def test_refuses(self):
        self.assert_bad_arg(self.start(), "fault.spin", {}, "ms")


class Memory(FaultTest):
    def test_leak_is_resident(self):
        worker = self.start()
        self.assertEqual(worker.value("fault.leak", {"bytes": 64 << 20}), 64 << 20)
        self.assertGreaterEqual(worker.value("stats")["max_rss_kb"], 64 << 10)

    def test_alloc_again_and_again(self):
        worker = self.start()
        for bytes_ in (0, 1, 10_000_000, 10_000_000):
            self.assertEqual(worker.value("fault.alloc", {"bytes": bytes_}), bytes_)

    def test_refuses(self):
        worker = self.start()
        for op in ("fault.leak", "fault.alloc"):
            for bytes_ in (-1, 2**40 + 1, "1", None):
                self.assert_bad_arg(worker, op, {"bytes": bytes_}, "bytes")


class Print(FaultTest):
    def test_becomes_log_messages(self):
        """PROTOCOL §5.4."""
        for to, level in (("stdout", "info"), ("stderr", "warning")):
            worker = self.start()
            self.assertEqual(worker.value("fault.print", {"text": "hello\n", "to": to, "times": 100}), 100)
            self.assertEqual(worker.finish(), [])
            self.assertEqual(worker.logs, [["log", level, "hello"]] * 100)

    def test_what_looks_like_frames_harms_nothing(self):
        worker = self.start()
        worker.value("fault.print", {"text": b"\0\0\0\1\x83\n" * 1000, "times": 10})
        self.assertEqual(worker.value("echo", "fine"), "fine")
        self.assertEqual(worker.finish(), [])
        self.assertEqual(len(worker.logs), 10_000)

    def test_refuses(self):
        worker = self.start()
        for arg, args in [("text", {}), ("text", {"text": 1}), ("to", {"text": "", "to": "stdin"}),
                          ("times", {"text": "", "times": -1})]:
            self.assert_bad_arg(worker, "fault.print", args, arg)


if __name__ == "__main__":
    unittest.main()
