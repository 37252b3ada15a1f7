"""The tests' own output arrives byte for byte, live, replayed and as a log."""

import subprocess

import pytest

from tests.e2e.checks import assert_ended
from tests.e2e.installation import Client
from tests.e2e.processes import command
from tests.e2e.projects import RAW, ProjectMaker

MEBIBYTE = 1 << 20
EMOJI = "😀".encode()


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"no newline at the end"], id="no final newline"),
        pytest.param([b"x" * MEBIBYTE, b"\n"], id="1 MiB on one line"),
        pytest.param(
            [b"1\n2\n3\n", b"y" * 70_000 + b"\n", b"4\n5\n6\n", b"z" * 3_000_000, b"\n7"], id="long lines"
        ),
        pytest.param([b"\r%3d %%" % n for n in range(101)] + [b"\n"], id="progress bar"),
        pytest.param([b"a\r\nb\r\n\r\n\n\n  \n\tc", b"\n" * 50], id="line ends of all kinds"),
        pytest.param([b"nul \0 and \0\0\n"], id="NUL"),
        pytest.param([b"\x1b[31mred\x1b[0m\x07\x08\n"], id="terminal controls"),
        pytest.param(["grün 漢字 \u2028 \ufeff \x85\n".encode()], id="beyond ASCII"),
        pytest.param([b"x" * 16_383 + EMOJI * 3000], id="characters across 16 KiB"),
        pytest.param([b"data: x\nid: 7\nevent: complete\n\n: c\n"], id="what looks like an event"),
        pytest.param([b'{"type": "complete"}\n1 exit {"exit_code": 0}\n'], id="what looks like a frame"),
        pytest.param([], id="nothing"),
    ],
)
def test_bytes(client: Client, project: ProjectMaker, pieces: list[bytes]) -> None:
    assert_ended(client, client.submit(project.writing(*pieces), *RAW), 0, b"".join(pieces))


@pytest.mark.parametrize("character", [EMOJI, "é".encode(), "漢".encode()])
def test_characters_that_come_in_parts(client: Client, project: ProjectMaker, character: bytes) -> None:
    pieces = [bytes([byte]) for byte in character * 3]
    made = project.writing(*pieces, pause_seconds=0.05)
    assert_ended(client, client.submit(made, *RAW), 0, character * 3)


def test_slow_partial_writes_are_not_taken_for_lines(client: Client, project: ProjectMaker) -> None:
    made = project.writing(b"one ", b"line ", b"in ", b"parts\n", b"end", pause_seconds=0.1)
    assert_ended(client, client.submit(made, *RAW), 0, b"one line in parts\nend")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (b"good\n\xff\ngood\n", "good\n\ufffd\ngood\n"),
        (b"\x80\xc3(\xe2\x28\xa1\n", "\ufffd\ufffd(\ufffd(\ufffd\n"),
        (b"cut short \xf0\x9f\x98", "cut short \ufffd"),
        (b"surrogate \xed\xa0\x80.", "surrogate \ufffd\ufffd\ufffd."),
    ],
)
def test_what_is_not_utf8_becomes_replacement_characters(
    client: Client, project: ProjectMaker, given: bytes, shown: str
) -> None:
    assert_ended(client, client.submit(project.writing(given), *RAW), 0, shown.encode())


def test_200_000_lines(client: Client, project: ProjectMaker) -> None:
    body = """
        import os

        def test_it():
            with os.fdopen(1, "wb", closefd=False) as stdout:
                for number in range(200_000):
                    stdout.write(b"%07d %s\\n" % (number, b"=" * 71))
        """
    lines = b"".join(b"%07d %s\n" % (number, b"=" * 71) for number in range(200_000))
    assert_ended(client, client.submit(project.test(body), *RAW), 0, lines)


def test_a_burst_of_short_writes(client: Client, project: ProjectMaker) -> None:
    body = """
        import os

        def test_it():
            for number in range(10_000):
                os.write(1, b"%d\\n" % number)
        """
    lines = b"".join(b"%d\n" % number for number in range(10_000))
    assert_ended(client, client.submit(project.test(body), *RAW), 0, lines)


def test_both_streams_in_their_order(client: Client, project: ProjectMaker) -> None:
    body = """
        import os

        def test_it():
            for number in range(500):
                os.write(1 + number % 2, b"%d\\n" % number)
        """
    lines = b"".join(b"%d\n" % number for number in range(500))
    assert_ended(client, client.submit(project.test(body), *RAW), 0, lines)


def test_output_arrives_while_the_tests_run(client: Client, project: ProjectMaker) -> None:
    body = """
        import os, pathlib, time

        def test_it():
            os.write(1, b"first line\\n")
            time.sleep(3600)
        """
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(body))
    running.stdout.wait_for(b"first line\n")
    running.stderr.wait_for(b"Job ID: ")
    job_id = running.stderr.seen().decode().split("Job ID: ")[1].split()[0]
    assert client.run("logs", job_id).stdout == b"first line\n"
    assert client.run("cancel", job_id).exit_code == 0
    assert running.finish().exit_code == 130


def test_dev_stdout_can_be_opened(client: Client, project: ProjectMaker) -> None:
    body = """
        import subprocess

        def test_it():
            for path in ("/dev/stdout", "/dev/stderr", "/proc/self/fd/1"):
                subprocess.run(["sh", "-c", f"echo {path} > {path}"], check=True)
        """
    done = client.submit(project.test(body), *RAW)
    assert_ended(client, done, 0, b"/dev/stdout\n/dev/stderr\n/proc/self/fd/1\n")


def test_a_reader_that_takes_its_time(client: Client, project: ProjectMaker) -> None:
    lines = b"".join(b"%06d %s\n" % (number, b"-" * 100) for number in range(10_000))
    made = project.writing(lines)
    with subprocess.Popen(
        [command("ci"), "submit", "test", "--", *RAW],
        env=client.environ,
        cwd=made,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as slow:
        # Nothing is read before the job is over; the pipe holds a fraction of it.
        assert slow.stdout is not None
        assert slow.stdout.read(1) == b"0"
        job_id = str(client.jobs(1)[0]["job_id"])
        client.wait_until(job_id, "completed")
        assert slow.stdout.read() == lines[1:]
    assert slow.returncode == 0
