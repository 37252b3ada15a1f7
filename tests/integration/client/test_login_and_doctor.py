"""`ci login` and `ci doctor`."""

import asyncio
import os
import stat
import subprocess
from pathlib import Path

from tests.e2e.processes import Finished, command
from tests.integration.client.client_command import Client
from tests.integration.client.worker import finished
from tests.integration.server.serving import Account, ServerProcess


def nobody_yet(client: Client) -> Client:
    client.environ.pop("CI_API_KEY", None)
    return client


def with_stdin(client: Client, text: str, *arguments: str) -> Finished:
    done = subprocess.run(
        [command("ci"), *arguments],
        env=client.environ, cwd=client.home, input=text.encode(), capture_output=True, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr.decode())


async def test_the_key_is_asked_for_and_never_shown(client: Client, account: Account) -> None:
    terminal = nobody_yet(client).on_terminal("login")
    await asyncio.to_thread(terminal.wait_for, b"Server [")
    terminal.type(b"\n")
    await asyncio.to_thread(terminal.wait_for, b"API key")
    terminal.type(account.key.encode() + b"\n")
    code, seen = await asyncio.to_thread(terminal.finish)
    assert code == 0
    assert b"Logged in as ann" in seen
    assert account.key.encode() not in seen
    config = client.home / ".ci" / "config"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    listed = await finished(client.start("list", "--json"))
    assert (listed.exit_code, listed.stdout) == (0, b"[]\n")


async def test_the_file_is_enough_and_variables_go_before_it(
    client: Client, account: Account, server: ServerProcess
) -> None:
    done = await asyncio.to_thread(with_stdin, nobody_yet(client), account.key + "\n", "login")
    assert done.exit_code == 0, done.stderr
    del client.environ["CI_API_URL"]
    assert (await finished(client.start("list"))).exit_code == 0
    elsewhere = await finished(client.start("list", CI_API_URL="http://127.0.0.1:9"))
    assert elsewhere.exit_code == 69
    by_flag = await finished(client.start("list", "--server", server.url, CI_API_URL="http://127.0.0.1:9"))
    assert by_flag.exit_code == 0
    wrong = await finished(client.start("list", CI_API_KEY="ci_wrong"))
    assert wrong.exit_code == 77


async def test_a_key_that_does_not_work_is_not_kept(client: Client, account: Account) -> None:
    config = client.home / "elsewhere" / "config"
    client.environ["CI_CONFIG"] = str(config)
    for text in ("ci_wrong\n", "\n", ""):
        done = await asyncio.to_thread(with_stdin, nobody_yet(client), text, "login")
        assert done.exit_code == 77
        assert len(done.stderr.splitlines()) == 1
        assert not config.exists()
    done = await asyncio.to_thread(with_stdin, client, account.key, "login")
    assert done.exit_code == 0
    assert config.exists()


async def test_logging_in_keeps_other_lines_and_links(client: Client, account: Account) -> None:
    real = client.home / "dotfiles"
    real.write_text("# mine\nfuture = 1\napi_key = old\napi_key = older\n")
    (client.home / ".ci").mkdir()
    (client.home / ".ci" / "config").symlink_to(real)
    done = await asyncio.to_thread(with_stdin, nobody_yet(client), account.key, "login")
    assert done.exit_code == 0
    assert (client.home / ".ci" / "config").is_symlink()
    assert real.read_text().startswith(f"# mine\nfuture = 1\napi_key={account.key}\nserver=http://")


async def test_a_variable_that_overrides_the_file_is_pointed_out(client: Client, account: Account) -> None:
    client.environ["CI_API_KEY"] = "ci_other"
    done = await asyncio.to_thread(with_stdin, client, account.key, "login")
    assert done.exit_code == 0
    assert "CI_API_KEY is set to something else" in done.stderr


async def test_a_broken_config_names_its_line(client: Client) -> None:
    (client.home / ".ci").mkdir()
    (client.home / ".ci" / "config").write_text("api_key=x\nwhat\n")
    done = await finished(client.start("list"))
    assert done.exit_code == 64
    assert "config, line 2" in done.stderr


async def test_doctor_finds_nothing(client: Client, project: Path) -> None:
    done = await finished(client.start("doctor", cwd=project))
    assert done.exit_code == 0, done.stdout
    lines = done.stdout.decode().splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["✓", "client:"], ["✓", "config:"], ["✓", "server:"], ["✓", "key:"], ["✓", "project:"],
    ]  # fmt: skip


async def test_doctor_says_what_is_wrong_with_each(client: Client, project: Path) -> None:
    no_server = await finished(client.start("doctor", "--server", "http://127.0.0.1:9", cwd=project))
    assert no_server.exit_code == 69
    assert "✗ server:  can't reach" in no_server.stdout.decode()
    no_key = await finished(nobody_yet(client).start("doctor", cwd=project))
    assert no_key.exit_code == 77
    assert "✗ key:     no API key" in no_key.stdout.decode()
    no_project = await finished(client.start("doctor", "--api-key", "ci_x", cwd=client.home))
    assert no_project.exit_code == 77
    assert "✗ project: no requirements.txt" in no_project.stdout.decode()
    config = client.home / "open"
    config.write_text("")
    os.chmod(config, 0o644)  # noqa: PTH101 - the mode is the point
    readable = await finished(client.start("doctor", CI_CONFIG=str(config), cwd=project))
    assert f"chmod 600 {config}" in readable.stdout.decode()
