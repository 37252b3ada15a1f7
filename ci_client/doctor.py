"""`ci doctor`: looks at everything that a submission needs, and says what to do about each fault."""

import stat
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path

from ci_client import bundling, git_view
from ci_client.client import ServerClient
from ci_client.problems import BadUse, ClientError
from ci_client.selection import select
from ci_client.settings import Settings
from ci_client.terminal import Console
from ci_client.wire import Account

_TOLERATED_CLOCK_SECONDS = 60.0


def examine(settings: Settings, console: Console, path: str) -> int:
    """`ci doctor`; 0, or the exit code of the first fault."""
    return _Examination(settings, console).run(path)


class _Examination:
    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._exit_code = 0

    def run(self, path: str) -> int:
        self._check("client", self._client)
        self._check("config", self._config)
        if self._check("server", self._server):
            self._check("key", self._key)
        self._check("project", lambda: self._project(path))
        return self._exit_code

    def _check(self, name: str, look: Callable[[], str]) -> bool:
        try:
            found, mark = look(), self._console.passed_mark
        except ClientError as error:
            found, mark = str(error), self._console.failed_mark
            self._exit_code = self._exit_code or error.exit_code
        self._console.answer(f"{mark} {name + ':':<9}{found}")
        return mark == self._console.passed_mark

    def _client(self) -> str:
        python = ".".join(map(str, sys.version_info[:3]))
        return f"version {version('ci-platform')}, Python {python} on {sys.platform}"

    def _config(self) -> str:
        path = self._settings.config_path
        source = self._settings.api_key_source
        key = f"the key comes from {source}" if source else "there is no key yet"
        if not path.exists():
            return f"{path} doesn't exist; {key}"
        if sys.platform != "win32" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise BadUse(f"others can read {path}, which holds your key: chmod 600 {path}")
        return f"{path}; {key}"

    def _server(self) -> str:
        client = ServerClient(self._settings, None)
        date, seconds = client.is_healthy()
        self._check_clock(date)
        where = f"{self._settings.server} (from {self._settings.server_source})"
        return f"{where} answers in {seconds * 1000:.0f} ms"

    def _check_clock(self, date: str) -> None:
        try:
            theirs = parsedate_to_datetime(date)
        except ValueError:
            return  # whoever answers without a date tells nothing about clocks
        apart = (datetime.now(UTC) - theirs.astimezone(UTC)).total_seconds()
        if abs(apart) > _TOLERATED_CLOCK_SECONDS:
            direction = "ahead of" if apart > 0 else "behind"
            raise BadUse(
                f"this machine's clock is {abs(apart):.0f} s {direction} the server's; set one of them right"
            )

    def _key(self) -> str:
        account = ServerClient(self._settings, self._settings.required_key()).me()
        return f"{account.key_name!r} of {account.user_name} <{account.email}>; {self._versions(account)}"

    def _versions(self, account: Account) -> str:
        if account.server_version == version("ci-platform"):
            return f"the server has version {account.server_version}, too"
        return f"the server has version {account.server_version}; should anything look odd, use the same"

    def _project(self, path: str) -> str:
        root = bundling.project_root(path)
        bundling.check_requirements(root)
        selection = select(root)
        bundling.check_selection(selection)
        by = "git" if git_view.is_in_work_tree(root) else "the .gitignore files"
        return f"{root}: {len(selection.entries)} entries would go, ignored names by {by}{self._hints(root)}"

    @staticmethod
    def _hints(root: Path) -> str:
        usual = [name for name in ("src", "tests") if not (root / name).is_dir()]
        return f"; no {' and no '.join(usual)} folder, which is fine if you mean it" if usual else ""
