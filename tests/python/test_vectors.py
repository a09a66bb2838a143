"""proto/vectors/{valid,invalid} against the executable: what each says must be seen (PROTOCOL §1-§4, §8-§10)."""

import unittest

import vectors
from stevedore_client import CODECS, Worker, WorkerTest, frame


def codec_of(data):
    return CODECS["etf" if data[:1] == b"\x83" else "msgpack"]


class Answers(WorkerTest):
    """Each vector has a worker of its own."""

    def play(self, vector):
        content = vector.data if vector.is_frames else frame(vector.data)
        with Worker("--threads", 1, codec=codec_of(vector.data)) as worker:
            worker.send_bytes(content)
            worker.close_stdin()
            messages = [message for message in worker.rest() if message[0] != "log"]
            self.check(vector, messages, worker.wait(), worker.stderr())

    def check(self, vector, messages, code, stderr):
        endings = [words for words in vector.expect if words[0] in ("broken", "incomplete", "stop")]
        if endings and endings[0][0] != "stop":
            self.assertEqual(code, 65, stderr)
            self.assert_one_line(stderr)
            self.assertIn(" ".join(endings[0][1:]).lower(), stderr.lower())
            return
        self.assertEqual(code, 0, stderr)
        self.assertEqual(messages.pop(), ["bye", "stop" if endings else "eof"])
        self.check_answers(vector, messages)

    def check_answers(self, vector, messages):
        bad = [words for words in vector.expect if words[0] == "bad_request"]
        called = [int(words[1]) for words in vector.expect if words[0] == "call"]
        errors = [message for message in messages if message[0] == "error" and message[2] == "bad_request"]
        self.assertEqual(len(errors), len(bad), messages)
        for words, error in zip(bad, errors):
            self.assert_error(error, "bad_request")
            self.assertEqual(error[1], None if words[1] == "nil" else int(words[1]))
            self.assertIn(" ".join(words[2:]).lower(), error[3]["message"].lower())
        self.assert_one_terminal_each([message for message in messages if message not in errors], called)


def add_tests(directory):
    for vector in vectors.read_all(directory):
        def test(self, vector=vector):
            self.play(vector)

        setattr(Answers, "test_" + vector.name.replace("/", "_").replace("-", "_"), test)


add_tests("valid")
add_tests("invalid")

if __name__ == "__main__":
    unittest.main()
