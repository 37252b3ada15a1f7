import pytest

from benchmarks import pytest_log

OUTPUT = """\
============================= test session starts ==============================
platform linux -- Python 3.11.2, pytest-8.4.2, pluggy-1.6.0 -- /job/venv/bin/python
rootdir: /workspace
collected 6 items

tests/test_a.py::test_one PASSED                                         [ 16%]
tests/test_a.py::test_two[a - b] FAILED                                  [ 33%]
tests/test_a.py::test_three SKIPPED (needs what isn't here)              [ 50%]
tests/test_a.py::test_four ERROR                                         [ 66%]
tests/test_a.py::test_five XFAIL (known)                                 [ 83%]
tests/test_a.py::test_six PASSED                                         [100%]

= 1 failed, 2 passed, 1 skipped, 1 xfailed, 3 warnings, 1 error in 61.25s (0:01:01) =
"""


def test_counts_are_those_of_the_last_line() -> None:
    log = pytest_log.read(OUTPUT)
    assert (log.python, log.run, log.passed, log.failed) == ("3.11.2", 5, 2, 2)


def test_each_test_has_its_outcome() -> None:
    tests = pytest_log.read(OUTPUT).tests
    assert list(tests.values()) == ["PASSED", "FAILED", "SKIPPED", "ERROR", "XFAIL", "PASSED"]
    assert tests["tests/test_a.py::test_two[a - b]"] == "FAILED"


def test_differences_name_the_test_and_both_sides() -> None:
    here = pytest_log.read(OUTPUT)
    there = pytest_log.read(OUTPUT.replace("test_six PASSED", "test_six FAILED"))
    assert pytest_log.differences(here, here) == []
    assert pytest_log.differences(here, there) == [
        "tests/test_a.py::test_six: PASSED here, FAILED on the host"
    ]


def test_where_the_project_lies_makes_no_difference() -> None:
    here = pytest_log.read(OUTPUT.replace("a - b", "/workspace/tests/a"))
    there = pytest_log.read(OUTPUT.replace("a - b", "/tmp/a/tests/a").replace("/workspace", "/tmp/a"))
    assert pytest_log.differences(here, there) == []


def test_what_failed_on_both_sides_is_named() -> None:
    log = pytest_log.read(OUTPUT)
    names = ["tests/test_a.py::test_two[a - b]", "tests/test_a.py::test_four"]
    assert pytest_log.failed_in_both(log, log) == names


@pytest.mark.parametrize("output", ["", "Traceback (most recent call last):\n", OUTPUT.replace("61.25s", "")])
def test_a_run_that_was_cut_short_is_refused(output: str) -> None:
    with pytest.raises(ValueError, match="whole run"):
        pytest_log.read(output)
