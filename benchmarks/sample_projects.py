"""The projects that are submitted for measuring, each with the least that its row needs.

Tests that print run with `-s`, so that their lines reach the container's output as they are.
"""

import random
from pathlib import Path

REQUIREMENTS = ("pytest==8.4.2", "requests==2.32.5")
ONE_MORE = "six==1.17.0"
"""What is added for the row about changed requirements."""

LINE_BYTES = 80

_SMALL_TEST = """\
from calculator import add


def test_sum():
    assert add(1, 1) == 2


def test_text():
    assert "a" in "abc"
"""
_TICKING_TEST = """\
import time


def test_ticks():
    began = time.monotonic()
    for number in range({lines}):
        time.sleep(max(0, began + number * {pause_seconds} - time.monotonic()))
        print(f"@{{time.monotonic_ns()}} {{number}}", flush=True)
"""
_FLOOD_TEST = """\
import sys


def test_flood():
    for number in range({lines}):
        sys.stdout.write(f"{{number:07d}} " + "x" * 71 + "\\n")
"""
_SLEEPING_TEST = """\
import time


def test_sleep():
    time.sleep({seconds})
"""
_PYTEST_STAND_IN = """\
# Stands before the real one on the path: the job is all platform, and its own work next to nothing.
print("nothing to do")
"""


def small(folder: Path) -> Path:
    """Two modules, two tests."""
    _write(folder, "calculator.py", "def add(one, other):\n    return one + other\n")
    return _project(folder, _SMALL_TEST)


def ticking(folder: Path, lines: int, pause_seconds: float) -> Path:
    """Prints the monotonic clock, which a container shares with its host, now and then."""
    return _project(folder, _TICKING_TEST.format(lines=lines, pause_seconds=pause_seconds))


def flooding(folder: Path, lines: int) -> Path:
    """Prints numbered lines of `LINE_BYTES` as fast as it can, a write each."""
    return _project(folder, _FLOOD_TEST.format(lines=lines))


def flood(lines: int) -> bytes:
    """What `flooding` prints."""
    return b"".join(b"%07d " % number + b"x" * 71 + b"\n" for number in range(lines))


def sleeping(folder: Path, seconds: float) -> Path:
    """Does nothing, for long."""
    return _project(folder, _SLEEPING_TEST.format(seconds=seconds))


def trivial(folder: Path) -> Path:
    """Ends as soon as its interpreter has started: a `pytest.py` of its own takes pytest's place."""
    _write(folder, "pytest.py", _PYTEST_STAND_IN)
    return _project(folder, "")


def large(folder: Path, files: int, total_bytes: int) -> Path:
    """Many files in folders of a hundred; every other one can be compressed well, the rest hardly."""
    generator = random.Random(20_000)  # the same files whoever measures
    size_bytes = total_bytes // files
    words = [generator.randbytes(6).hex() for _ in range(2000)]
    for number in range(files):
        target = folder / "data" / f"{number // 100:03d}"
        if number % 100 == 0:
            target.mkdir(parents=True)
        data = generator.randbytes(size_bytes) if number % 2 else _prose(generator, words, size_bytes)
        (target / f"{number:05d}.dat").write_bytes(data)
    return _project(folder, "def test_nothing():\n    pass\n")


def require(folder: Path, *requirements: str) -> None:
    """Set the project's requirements."""
    _write(folder, "requirements.txt", "".join(f"{line}\n" for line in requirements))


def _prose(generator: random.Random, words: list[str], size_bytes: int) -> bytes:
    text = " ".join(generator.choices(words, k=size_bytes // 13 + 1))
    return text.encode()[:size_bytes]


def _project(folder: Path, test: str) -> Path:
    _write(folder, "test_project.py", test)
    require(folder, *REQUIREMENTS)
    return folder


def _write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
