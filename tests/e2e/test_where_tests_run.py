"""The place in which tests run: its environment, its files, and what it keeps out of reach."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

from tests.e2e.checks import assert_ended
from tests.e2e.installation import Client
from tests.e2e.projects import RAW, ProjectMaker


def told(client: Client, made: Path) -> dict[str, object]:
    """The JSON object that the project's test prints."""
    done = client.submit(made, *RAW)
    assert done.exit_code == 0, done
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_environment(client: Client, project: ProjectMaker) -> None:
    found = told(
        client,
        project.test(
            """
            import getpass, json, locale, os, pathlib, sys, time

            def test_it():
                print(json.dumps({
                    "environ": {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_CURRENT")},
                    "cwd": os.getcwd(),
                    "uid": os.getuid(),
                    "gid": os.getgid(),
                    "groups": os.getgroups(),
                    "user": getpass.getuser(),
                    "encoding": locale.getpreferredencoding(),
                    "timezone": time.tzname[0],
                    "stdin": sys.__stdin__.read(),
                    "home": os.access(pathlib.Path.home(), os.W_OK),
                    "capabilities": [line.split()[1] for line in open("/proc/self/status")
                                     if line.startswith(("CapPrm", "CapEff", "CapAmb", "CapBnd"))][:2],
                    "no_new_privileges": "NoNewPrivs:\\t1\\n" in open("/proc/self/status").readlines(),
                    "open": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:3],
                }))
            """
        ),
    )
    environ = found["environ"]
    assert isinstance(environ, dict)
    wanted = {
        "CI": "true",
        "TZ": "UTC",
        "HOME": "/home/ci",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "80",
        "PYTHONPATH": "/workspace/src",
    }
    assert wanted.items() <= environ.items()
    assert environ["PYTEST_XDIST_AUTO_NUM_WORKERS"] == environ["PYTHON_CPU_COUNT"]
    assert "FORCE_COLOR" not in environ
    assert found["cwd"] == "/workspace"
    assert isinstance(found["uid"], int)
    assert found["uid"] >= 20_000
    assert found["gid"] != 0
    assert 0 not in (found["groups"] or [])  # pyright: ignore[reportOperatorIssue] - a list of numbers
    assert (found["user"], found["encoding"], found["timezone"]) == ("ci", "UTF-8", "UTC")
    assert (found["stdin"], found["home"]) == ("", True)
    assert found["capabilities"] == ["0000000000000000"] * 2
    assert found["no_new_privileges"] is True
    assert found["open"] == [0, 1, 2]


def test_the_runner_is_out_of_reach(client: Client, project: ProjectMaker) -> None:
    made = project.test(
        """
        import os, pytest, signal

        @pytest.mark.parametrize("name", ["environ", "mem", "fd/1", "maps"])
        def test_files(name):
            with pytest.raises(PermissionError):
                open(f"/proc/1/{name}", "rb").read(1)

        def test_signals():
            with pytest.raises(PermissionError):
                os.kill(1, signal.SIGKILL)

        def test_docker():
            assert not os.path.exists("/var/run/docker.sock")
        """
    )
    assert_ended(client, client.submit(made, *RAW), 0, b"")


def test_the_projects_own_configuration_counts(client: Client, project: ProjectMaker) -> None:
    made = project(
        {
            "pyproject.toml": """
                [tool.pytest.ini_options]
                addopts = "-p no:terminal -s"
                python_files = ["check_*.py"]
                """,
            "checks/check_it.py": "import os\n\ndef test_it():\n    os.write(1, b'checked')\n",
            "conftest.py": "import os\n\ndef pytest_sessionfinish():\n    os.write(1, b' and finished')\n",
        }
    )
    assert_ended(client, client.submit(made, "--strict-markers"), 0, b"checked and finished")


def test_files_arrive_as_they_were(client: Client, project: ProjectMaker) -> None:
    made = project(
        {
            "run.sh": "#!/bin/sh\nprintf executable\n",
            "plain.txt": "plain",
            "old.txt": "old",
            "grün 漢字.txt": "named",
            "folder/inner.txt": "inner",
            "tests/test_it.py": """
                import os, pathlib, subprocess

                def test_it():
                    subprocess.run(["./run.sh"], check=True)
                    assert not os.access("plain.txt", os.X_OK)
                    assert pathlib.Path("grün 漢字.txt").read_text() == "named"
                    assert os.readlink("link") == "plain.txt"
                    assert pathlib.Path("link-to-folder/inner.txt").read_text() == "inner"
                    assert pathlib.Path("empty").is_dir()
                    assert pathlib.Path("old.txt").stat().st_mtime <= 315532800
                    assert not pathlib.Path(".hidden").exists()
                    assert not pathlib.Path("build.log").exists()
                    assert not pathlib.Path("venv").exists()
                    pathlib.Path("plain.txt").write_text("mine now")
                    pathlib.Path("folder/new.txt").write_text("")
                """,
            ".hidden": "",
            ".gitignore": "*.log\n",
            "build.log": "",
            "venv/pyvenv.cfg": "",
            "venv/big": "",
        }
    )
    (made / "run.sh").chmod(0o755)
    os.utime(made / "old.txt", (0, 0))
    (made / "link").symlink_to("plain.txt")
    (made / "link-to-folder").symlink_to("folder")
    (made / "empty").mkdir()
    assert_ended(client, client.submit(made, *RAW), 0, b"executable")


def test_a_link_that_leads_outside_is_refused_by_name(client: Client, project: ProjectMaker) -> None:
    made = project.test("def test_it(): pass\n")
    (made / "secret").symlink_to("/etc/passwd")
    done = client.run("submit", "test", cwd=made)
    assert (done.exit_code, done.stdout) == (64, b"")
    assert "secret" in done.stderr


def test_fifty_thousand_small_files(client: Client, project: ProjectMaker) -> None:
    made = project.test(
        "import os, pathlib\n\ndef test_it():\n"
        "    os.write(1, str(sum(1 for _ in pathlib.Path('many').rglob('*.txt'))).encode())\n"
    )
    for folder in range(100):
        (made / "many" / str(folder)).mkdir(parents=True)
        for number in range(500):
            (made / "many" / str(folder) / f"{number}.txt").write_bytes(b"")
    done = client.submit(made, *RAW)
    assert (done.exit_code, done.stdout) == (0, b"50000")


def test_a_large_file(client: Client, project: ProjectMaker) -> None:
    made = project.test(
        "import hashlib, os, pathlib\n\ndef test_it():\n"
        "    os.write(1, hashlib.sha256(pathlib.Path('big').read_bytes()).hexdigest().encode())\n"
    )
    content = os.urandom(1 << 20) * 100
    (made / "big").write_bytes(content)
    done = client.submit(made, *RAW)
    assert (done.exit_code, done.stdout) == (0, hashlib.sha256(content).hexdigest().encode())


def test_archives_within_the_project_stay_archives(client: Client, project: ProjectMaker) -> None:
    made = project.test(
        "import zipfile\n\ndef test_it():\n    assert zipfile.ZipFile('inner.zip').namelist() == ['../x']\n"
    )
    with zipfile.ZipFile(made / "inner.zip", "w") as inner:
        inner.writestr("../x", "")
    assert_ended(client, client.submit(made, *RAW), 0, b"")


def test_links_that_lead_nowhere_arrive_as_they_are_and_are_named(
    client: Client, project: ProjectMaker
) -> None:
    made = project.test(
        "import os\n\ndef test_it():\n"
        "    assert [os.readlink(name) for name in ('dangling', 'loop')] == ['gone', 'loop']\n"
    )
    (made / "dangling").symlink_to("gone")
    (made / "loop").symlink_to("loop")
    done = client.submit(made, *RAW)
    assert_ended(client, done, 0, b"")
    assert "dangling" in done.stderr
    assert "loop" in done.stderr
