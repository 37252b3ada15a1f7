"""What a job writes arrives byte for byte, as it comes."""

import pytest

from ci_common.models import Phase
from ci_controller.frames import RunnerEnd
from tests.integration.runner.box import Boxes, python, spec, step


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no newline at the end",
        b"x" * (1 << 20) + b"\n",
        b"a\rb\r\nc\n\n\n\r",
        b"before\xff\xfe\xc3(\nafter\xe2\x82",
        b"\0nul\0\n",
        bytes(range(256)) * 40,
        "grüße \U0001f600".encode() * 3000,
        b"x" * 16_383 + b"\n" + b"y" * 16_384 + b"\n",
        b"7 test YWJj\n" + b'8 end {"end": "exited"}\n',
    ],
)
async def test_any_bytes(boxes: Boxes, data: bytes) -> None:
    code = "import sys; sys.stdout.buffer.write(open('data', 'rb').read())"
    async with boxes.run(spec(python(code)), [("data", data)]) as box:
        assert (await box.end()).exit_code == 0
        assert box.text == data.decode(errors="replace")


async def test_both_streams_in_the_order_of_writing(boxes: Boxes) -> None:
    code = "import os\nfor number in range(1000): os.write(1 + number % 2, b'%d\\n' % number)"
    async with boxes.run(spec(python(code))) as box:
        await box.end()
        assert box.text == "".join(f"{number}\n" for number in range(1000))


async def test_many_lines_written_one_by_one(boxes: Boxes) -> None:
    code = "for number in range(200_000): print(f'{number:07d} ' + 'x' * 71, flush=True)"
    async with boxes.run(spec(python(code))) as box:
        assert (await box.end()).exit_code == 0
        assert box.text == "".join(f"{number:07d} {'x' * 71}\n" for number in range(200_000))
        assert box.frames < 8_000, "lines written one by one have to be gathered"


async def test_many_lines_written_in_blocks(boxes: Boxes) -> None:
    code = "for number in range(200_000): print(f'{number:07d} ' + 'x' * 71)"
    async with boxes.run(spec(python(code))) as box:
        assert (await box.end()).exit_code == 0
        assert box.text == "".join(f"{number:07d} {'x' * 71}\n" for number in range(200_000))


async def test_a_lone_line_comes_at_once(boxes: Boxes) -> None:
    code = "import time\nprint('here', flush=True)\ntime.sleep(999)"
    async with boxes.run(spec(python(code))) as box:
        await box.until("here\n")


async def test_slow_partial_writes(boxes: Boxes) -> None:
    code = (
        "import time\n"
        "for part in 'one', ' line', ' in', ' parts': print(part, end='', flush=True); time.sleep(0.05)"
    )
    async with boxes.run(spec(python(code))) as box:
        await box.end()
        assert box.text == "one line in parts"


async def test_stdin_is_empty(boxes: Boxes) -> None:
    async with boxes.run(spec(python("import sys; print(repr(sys.stdin.read()))"))) as box:
        await box.end()
        assert box.text == "''\n"


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/stderr", "/proc/self/fd/1", "/dev/fd/2"])
async def test_the_streams_can_be_opened_by_name(boxes: Boxes, path: str) -> None:
    async with boxes.run(spec(python(f"open('{path}', 'w').write('opened\\n')"))) as box:
        assert (await box.end()).exit_code == 0
        assert box.text == "opened\n"


async def test_a_closed_stdout_ends_nothing(boxes: Boxes) -> None:
    code = "import os, time; os.close(1); os.close(2); time.sleep(0.5); os._exit(4)"
    async with boxes.run(spec(python(code))) as box:
        assert (await box.end()).exit_code == 4


async def test_output_of_phases_is_told_apart(boxes: Boxes) -> None:
    steps = (
        step("echo", "a", phase=Phase.INSTALL),
        step("echo", "b", phase=Phase.INSTALL),
        step("echo", "c"),
    )
    async with boxes.run(spec(*steps)) as box:
        await box.end()
        assert box.output == {Phase.INSTALL: "a\nb\n", Phase.TEST: "c\n"}


async def test_the_log_limit_is_exact(boxes: Boxes) -> None:
    code = "import sys; sys.stdout.write('x' * 100_000)"
    async with boxes.run(spec(python(code), log_limit_bytes=100_000)) as box:
        assert (await box.end()).end is RunnerEnd.EXITED
        assert box.text == "x" * 100_000


async def test_past_the_log_limit_everything_ends(boxes: Boxes) -> None:
    steps = (python("print('y' * 999)", Phase.INSTALL), python("while True: print('x' * 999)"))
    async with boxes.run(spec(*steps, log_limit_bytes=1_000_000)) as box:
        result = await box.end()
        assert (result.end, result.exit_code) == (RunnerEnd.LOG_LIMIT, None)
        assert sum(map(len, box.output.values())) == 1_000_000
