from pathlib import Path

import pytest

from ci_controller import machine_memory


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  500 kB\n", False),
        ("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  99 kB\n", True),
        ("MemTotal:  1000 kB\n", False),
        ("", False),
    ],
)
def test_less_than_a_tenth_is_short(tmp_path: Path, text: str, short: bool) -> None:
    file = tmp_path / "meminfo"
    file.write_text(text)
    assert machine_memory.is_short(file) == short


def test_a_machine_that_does_not_tell_is_not_short(tmp_path: Path) -> None:
    assert not machine_memory.is_short(tmp_path / "absent")
