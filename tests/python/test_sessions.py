"""proto/vectors/sessions, each in every codec it is meant for."""

import glob
import os
import unittest

import session
from stevedore_client import CODECS, VECTORS, WorkerTest


class Sessions(WorkerTest):
    pass


def add_tests():
    for path in sorted(glob.glob(os.path.join(VECTORS, "sessions", "*.session"))):
        transcript = session.Session(path)
        for name in transcript.codecs:
            def test(self, transcript=transcript, codec=CODECS[name]):
                session.play(transcript, codec)

            setattr(Sessions, f"test_{transcript.name.replace('-', '_')}_{name}", test)


add_tests()

if __name__ == "__main__":
    unittest.main()
