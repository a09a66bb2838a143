"""What a worker does when its host does not read: what waits is bounded (PROTOCOL §5.4, §10)."""

import os
import re
import unittest

from stevedore_client import messages_in
from test_black_box import PLUGINS, BlackBoxTest
from test_lifecycle import unread, wait_until

LOGS = os.path.join(PLUGINS, "logs.so")
MIB = 1 << 20


class Unread(BlackBoxTest):
    def start(self, *options, **more):
        """A worker whose stdout is not read before `read` is called."""
        self.reader, writer = os.pipe()
        worker = super().start(*options, stdout=writer, **more)
        os.close(writer)
        return worker

    def read(self):
        """All that it says, to the end."""
        messages = []
        with open(self.reader, "rb") as stdout:
            while header := stdout.read(4):
                messages += messages_in(stdout.read(int.from_bytes(header, "big")))
        return messages

    def test_no_further_job_starts(self):
        worker = self.start(threads=1)
        ids = [worker.start("echo", b"x" * MIB, queue_timeout=1000) for _ in range(160)]
        last = worker.start("ping")
        self.until(lambda: self.box.slots().get(last) == "finished")
        self.until(lambda: not self.box.in_state("waiting") | self.box.in_state("running"))
        worker.close_stdin()
        replies = self.read()
        self.assert_one_terminal_each(replies, [*ids, last])
        waited = [reply for reply in replies if reply[0] == "error"]
        self.assertGreater(len(waited), 0)
        for reply in waited:
            self.assert_error(reply, "queue_timeout")
            self.assert_never_ran(reply)
        self.assertGreater(len(replies) - len(waited), 64)

    def test_jobs_start_again_once_it_reads(self):
        worker = self.start(threads=1)
        ids = [worker.start("echo", b"x" * MIB) for _ in range(160)]
        worker.close_stdin()
        replies = self.read()
        self.assertEqual(replies.pop(), ["bye", "eof"])
        self.assertEqual([reply[:2] for reply in replies], [["ok", id] for id in ids])

    def test_a_host_that_never_reads_is_given_up(self):
        worker = self.start("--max-frame", 1 << 16)
        self.addCleanup(os.close, self.reader)
        with self.assertRaises(BrokenPipeError):
            for _ in range(500):
                worker.send_batch([("call", 1, "ops", None)] * 1000)
        self.assertEqual(worker.wait(), 74)
        self.assert_one_line(worker.stderr())
        self.assertIn("the host does not read", worker.stderr())

    def test_a_host_that_has_said_how_long_it_waits_is_not_waited_for(self):
        """§11, `{stop, GraceMs}`; it may take its time as long as it takes something."""
        worker = self.start(threads=1)
        self.addCleanup(os.close, self.reader)
        id = worker.start("echo", b"x" * MIB)
        self.until(lambda: self.box.slots().get(id) == "finished")
        worker.send("stop", 0)
        self.assertEqual(worker.wait(), 74)
        self.assertIn("the host does not read", worker.stderr())

    def test_no_frame_follows_the_bye(self):
        """§5.5: what is read after it was said is not answered."""
        worker = self.start(threads=1)
        id = worker.start("echo", b"x" * MIB)
        self.until(lambda: self.box.slots().get(id) == "finished")
        worker.send("stop")
        for _ in range(20):
            worker.send_batch([("call", worker.new_id(), op, None) for op in ("ping", "sleep", "no.such.op")])
            self.until(lambda: unread(worker.process.stdin) == 0)
        replies = self.read()
        self.assertEqual(replies[0][:2], ["ok", id])
        self.assertEqual(replies[-1], ["bye", "stop"])

    def test_what_an_op_logs_waits_and_then_is_dropped(self):
        """§5.4: of each line the host hears, or that it was dropped; all of it before the reply."""
        count = 20_000
        worker = self.start(threads=1, plugins=[LOGS])
        worker.start("logs.many", {"count": count})
        self.until(lambda: self.box.in_state("finished"))
        wait_until(lambda: unread(self.reader) > 0, "something is written")
        worker.close_stdin()
        messages = self.read()
        self.assertEqual(messages.pop(), ["bye", "eof"])
        self.assertEqual(messages.pop()[:2], ["ok", 1])
        lines = [message for message in messages if message[3:] == [1]]
        dropped = [re.fullmatch(r"(\d+) log lines were dropped.*", message[2]) for message in messages if message not in lines]
        self.assertEqual(len(lines) + sum(int(match[1]) for match in dropped), count)
        self.assertLess(len(lines), 3 * 4096)


if __name__ == "__main__":
    unittest.main()
