"""The units that scripts/write-systemd-units writes."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]


def _write(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "write-systemd-units", *arguments], capture_output=True, text=True, check=False
    )


def _settings(path: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in path.read_text("utf-8").splitlines() if "=" in line)
    return {name: value for name, _, value in lines}


def test_controller_and_server_share_data_and_group(tmp_path: Path) -> None:
    done = _write(
        "--directory", str(tmp_path), "--data", "/srv/ci", "--group", "build", "--server-user", "web"
    )
    assert done.returncode == 0, done.stderr
    controller = _settings(tmp_path / "ci-controller.service")
    server = _settings(tmp_path / "ci-server@.service")
    for unit in (controller, server):
        assert unit["Environment"] == "CI_DATA_DIR=/srv/ci"
        assert unit["Group"] == "build"
        assert unit["UMask"] == "0007"
        assert unit["EnvironmentFile"] == "-/etc/ci.env"
    assert controller["ExecStart"] == f"{ROOT}/.venv/bin/ci-controller"
    assert server["ExecStart"].endswith("/ci-server --host 127.0.0.1 --port %i")
    assert server["User"] == "web"
    assert "User" not in controller
    for line in ("groupadd --system build", "install -d -m 2770 -o root -g build /srv/ci", "web"):
        assert line in done.stdout


def test_bad_use_writes_nothing(tmp_path: Path) -> None:
    for arguments in (["--bogus", "x"], ["--directory"]):
        done = _write(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Usage:" in done.stderr
    assert list(tmp_path.iterdir()) == []
