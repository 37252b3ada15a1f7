"""Uploaded files lie in the workspace as they were, and are the job's own."""

from ci_controller.frames import RunnerEnd
from tests.integration.runner.box import MEBIBYTE, Boxes, python, spec, step


async def test_files_of_all_sizes(boxes: Boxes) -> None:
    files = [("a/b/c.txt", b"deep"), ("empty", b""), ("big", b"0123456789abcdef" * (MEBIBYTE // 4))]
    code = (
        "import hashlib, os\n"
        "for folder, _, names in sorted(os.walk('.')):\n"
        "    for name in sorted(names):\n"
        "        path = os.path.join(folder, name)\n"
        "        info = os.stat(path)\n"
        "        print(path, info.st_size, oct(info.st_mode), info.st_uid == os.getuid())"
    )
    async with boxes.run(spec(python(code)), files) as box:
        await box.end()
        assert box.text == (
            "./big 4194304 0o100644 True\n./empty 0 0o100644 True\n./a/b/c.txt 4 0o100644 True\n"
        )


async def test_many_small_files(boxes: Boxes) -> None:
    files = [(f"package{number // 100}/module{number}.py", b"x = 1\n") for number in range(3_000)]
    async with boxes.run(spec(step("sh", "-c", "find . -type f | wc -l")), files) as box:
        assert (await box.end()).exit_code == 0
        assert box.text == "3000\n"


async def test_no_step_at_all(boxes: Boxes) -> None:
    async with boxes.run(spec(), [("a", b"")]) as box:
        result = await box.end()
        assert (result.end, result.exit_code, box.fed) == (RunnerEnd.EXITED, None, True)
