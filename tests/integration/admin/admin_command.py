"""`ci-admin` as a process, on a database of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command printed, and its exit code."""

    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class AdminCommand:
    """Runs commands on one data directory."""

    data_dir: Path

    @property
    def db_path(self) -> Path:
        """Where the database lies unless `--db-path` says otherwise."""
        return self.data_dir / "ci.db"

    def run(self, *arguments: str, **environ: str) -> Finished:
        """One command to its end, whatever that is."""
        done = subprocess.run(
            [sys.executable, "-m", "ci_admin", *arguments],
            env=self._environ() | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    def out(self, *arguments: str) -> str:
        """The stdout of a command that must succeed."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done
        return done.stdout

    def objects(self, *arguments: str) -> list[dict[str, object]]:
        """The JSON array that a list command prints."""
        found: list[dict[str, object]] = json.loads(self.out(*arguments, "--json"))
        assert isinstance(found, list)
        return found

    def object(self, *arguments: str) -> dict[str, object]:
        """The JSON object that a get command prints."""
        found: dict[str, object] = json.loads(self.out(*arguments, "--json"))
        assert isinstance(found, dict)
        return found

    def create_user(self, email: str = "ada@example.com", name: str = "Ada Lovelace") -> str:
        """A new user's id."""
        return self.out("user", "create", "--name", name, "--email", email).split()[-1]

    def create_key(self, email: str = "ada@example.com", name: str = "laptop") -> str:
        """The text of a new key."""
        printed = self.out("key", "create", "--name", name, "--email", email)
        return next(
            line.removeprefix("API Key: ") for line in printed.splitlines() if line.startswith("API Key: ")
        )

    def _environ(self) -> dict[str, str]:
        foreign = {name for name in os.environ if name.startswith("CI_")}
        return {name: value for name, value in os.environ.items() if name not in foreign} | {
            "CI_DATA_DIR": str(self.data_dir)
        }
