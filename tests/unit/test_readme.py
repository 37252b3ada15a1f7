"""README says what the programs say: settings with their defaults, commands, exit codes."""

import re
from pathlib import Path

import click
import pytest
from pydantic_settings import BaseSettings

from ci_admin.cli import cli as admin
from ci_common import lifecycle
from ci_common.sizes import size_of
from ci_controller.settings import ControllerSettings
from ci_server.settings import ServerSettings

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
ROW = re.compile(r"^\| `(CI_[A-Z_]+)` \| (.+?) \| .+ \|$", re.MULTILINE)


def _table_after(heading: str) -> dict[str, str]:
    """Variable and default of each row of the first table behind a line of README."""
    text = README.split(f"\n{heading}\n", 1)[1].lstrip("\n")
    return dict(ROW.findall(text.split("\n\n", 1)[0]))


def _value(text: str) -> object:
    """A default as README writes it, as the program has it."""
    literal = text.strip("`")
    if text == literal:
        return None  # in words: worked out at start
    if re.fullmatch(r"\d+[kmg]?", literal):
        return size_of(literal)
    if re.fullmatch(r"\d+\.\d+", literal):
        return float(literal)
    return {"false": False}.get(literal, literal)


@pytest.mark.parametrize(
    ("heading", "settings"), [("Controller:", ControllerSettings), ("Server:", ServerSettings)]
)
def test_settings_stand_there_with_their_real_defaults(heading: str, settings: type[BaseSettings]) -> None:
    real = {f"CI_{name.upper()}": field.default for name, field in settings.model_fields.items()}
    assert {name: _value(text) for name, text in _table_after(heading).items()} == real


def _commands(group: click.Group, path: str) -> list[str]:
    context = click.Context(group)
    found: list[str] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += _commands(command, f"{path}{name} ")
        else:
            found.append(f"{path}{name}")
    return found


def test_every_command_of_the_administrator_stands_there() -> None:
    assert [name for name in _commands(admin, "") if name not in README] == []


def test_every_exit_code_of_the_platform_stands_there() -> None:
    codes = {value for name, value in vars(lifecycle).items() if name.startswith("EXIT_")}
    told = README.split("**Exit codes.**", 1)[1].split("**Settings", 1)[0]
    assert {code for code in codes if not re.search(rf"\b{code}\b", told)} == set()


def test_every_named_file_exists() -> None:
    named = set(re.findall(r"`((?:docs|scripts|tests)/[a-z./_-]+)`|^(scripts/\w+)", README, re.MULTILINE))
    paths = {first or second for first, second in named}
    assert {path for path in paths if not (Path(__file__).parents[2] / path).exists()} == set()


@pytest.mark.parametrize(
    ("heading", "settings"), [("Controller:", ControllerSettings), ("Server:", ServerSettings)]
)
def test_what_stands_there_can_be_set(
    heading: str, settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, default in _table_after(heading).items():
        monkeypatch.setenv(variable, default.strip("`") if default.startswith("`") else "")
    assert settings() == settings.model_construct()
