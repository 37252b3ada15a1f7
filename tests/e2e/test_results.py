"""How tests may end, and that their end and their words arrive unchanged."""

from pathlib import Path

import pytest

from tests.e2e.checks import assert_ended, assert_no_result
from tests.e2e.installation import Client
from tests.e2e.projects import RAW, ProjectMaker
from tests.e2e.pytest_output import steady

FIXTURES = Path(__file__).parent.parent / "fixtures"
HEAD = [
    "== test session starts ==",
    "platform linux -- VERSIONS -- /env/bin/python",
    "cachedir: .pytest_cache",
    "rootdir: /workspace",
]


def padded(text: str, share: str) -> str:
    """As pytest ends a line with the share of the tests that are done, 79 of the 80 columns wide."""
    return text + share.rjust(79 - len(text))


def test_passing_tests(client: Client) -> None:
    done = client.submit(FIXTURES / "passing")
    assert_ended(client, done, 0)
    assert steady(done.stdout) == [
        *HEAD,
        "collecting ... collected 2 items",
        "",
        padded("tests/test_adder.py::test_adds PASSED", "[ 50%]"),
        padded("tests/test_adder.py::test_adds_nothing PASSED", "[100%]"),
        "",
        "== 2 passed in TIME ==",
    ]


def test_failing_tests(client: Client) -> None:
    done = client.submit(FIXTURES / "failing")
    assert_ended(client, done, 1)
    assert steady(done.stdout) == [
        *HEAD,
        "collecting ... collected 2 items",
        "",
        padded("tests/test_it.py::test_fails FAILED", "[ 50%]"),
        padded("tests/test_it.py::test_passes PASSED", "[100%]"),
        "",
        "== FAILURES ==",
        "== test_fails ==",
        "",
        "    def test_fails():",
        ">       assert 1 + 1 == 3",
        "E       assert (1 + 1) == 3",
        "",
        "tests/test_it.py:2: AssertionError",
        "== short test summary info ==",
        "FAILED tests/test_it.py::test_fails - assert (1 + 1) == 3",
        "== 1 failed, 1 passed in TIME ==",
    ]


def test_syntax_error(client: Client) -> None:
    done = client.submit(FIXTURES / "syntax_error")
    assert_ended(client, done, 2)
    lines = steady(done.stdout)
    assert lines[: len(HEAD) + 1] == [*HEAD, "collecting ... collected 0 items / 1 error"]
    assert "E   SyntaxError: invalid syntax" in lines
    assert lines[-4:] == [
        "== short test summary info ==",
        "ERROR tests/test_it.py",
        "!!!!!!!!!!!!!!!!!!!! Interrupted: 1 error during collection !!!!!!!!!!!!!!!!!!!!",
        "== 1 error in TIME ==",
    ]


def test_import_error(client: Client) -> None:
    done = client.submit(FIXTURES / "import_error")
    assert_ended(client, done, 2)
    lines = steady(done.stdout)
    assert "E   ModuleNotFoundError: No module named 'no_such_module'" in lines
    assert lines[-1] == "== 1 error in TIME =="


def test_no_tests_collected(client: Client) -> None:
    done = client.submit(FIXTURES / "no_tests")
    assert_ended(client, done, 5)
    assert steady(done.stdout) == [
        *HEAD,
        "collecting ... collected 0 items",
        "",
        "== no tests ran in TIME ==",
    ]


def test_the_users_arguments_take_the_place_of_ours(client: Client) -> None:
    done = client.submit(FIXTURES / "passing", "-q", "-k", "nothing", "--no-header")
    assert_ended(client, done, 0)
    assert steady(done.stdout) == [
        padded(".", "[100%]"),
    ] or steady(done.stdout)[0] == padded(".", "[100%]")


def test_arguments_that_pytest_refuses(client: Client) -> None:
    done = client.submit(FIXTURES / "passing", "--no-such-option")
    assert_ended(client, done, 4)
    assert b"unrecognized arguments: --no-such-option" in done.stdout


def test_a_test_file_that_is_not_there(client: Client) -> None:
    done = client.submit(FIXTURES / "passing", "tests/test_gone.py")
    assert_ended(client, done, 4)
    assert b"ERROR: file or directory not found: tests/test_gone.py" in done.stdout


def test_segfault(client: Client, project: ProjectMaker) -> None:
    body = "import ctypes\n\ndef test_it():\n    ctypes.string_at(0)\n"
    done = client.submit(project.test(body), *RAW, "-p", "no:faulthandler")
    assert_ended(client, done, 139, b"")


@pytest.mark.parametrize("code", [0, 3, 64, 130, 255])
def test_exit_without_a_farewell(client: Client, project: ProjectMaker, code: int) -> None:
    body = f"import os\n\ndef test_it():\n    os.write(1, b'before')\n    os._exit({code})\n"
    assert_ended(client, client.submit(project.test(body), *RAW), code, b"before")


def test_killed_by_a_signal_of_its_own(client: Client, project: ProjectMaker) -> None:
    body = "import os, signal\n\ndef test_it():\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    done = client.submit(project.test(body), *RAW)
    assert_ended(client, done, 137, b"")


def test_what_the_tests_left_running_does_not_hold_the_job(client: Client, project: ProjectMaker) -> None:
    body = """
        import os, subprocess, sys

        def test_it():
            for _ in range(3):
                subprocess.Popen(
                    [sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True
                )
            os.write(1, b"done\\n")
        """
    assert_ended(client, client.submit(project.test(body), *RAW), 0, b"done\n")


def test_an_installation_that_fails_is_shown_whole(client: Client, project: ProjectMaker) -> None:
    done = client.submit(
        project.test("def test_it(): pass\n", requirements="pytest\nno-such-package-at-all\n")
    )
    assert_no_result(client, done, 65, "error", "install_failed")
    assert done.stdout == b""
    assert "no-such-package-at-all was not found" in done.stderr


def test_pytest_missing_after_all(client: Client, project: ProjectMaker) -> None:
    made = project(
        {"tests/test_it.py": "def test_it(): pass\n", "other.txt": "iniconfig\n"},
        requirements="-r other.txt\n",
    )
    done = client.submit(made)
    assert_no_result(client, done, 65, "error", "pytest_missing")
    assert "add it to requirements.txt" in done.stderr


def test_a_project_that_can_not_be_installed(client: Client, project: ProjectMaker) -> None:
    done = client.submit(project.test("def test_it(): pass\n", requirements="pytest\n-r ../outside.txt\n"))
    assert_no_result(client, done, 65, "error", "bad_project")
    assert "requirements.txt, line 2: '../outside.txt' lies outside of the project" in done.stderr
