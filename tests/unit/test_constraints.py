"""scripts/constraints.txt: exact versions of all that pyproject.toml asks for, and nothing else."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for line in (ROOT / "scripts" / "constraints.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
PINS = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LINES)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ASKED = [
    Requirement(text)
    for text in (
        *PROJECT["project"]["dependencies"],
        *PROJECT["dependency-groups"]["dev"],
        *PROJECT["build-system"]["requires"],
    )
]


def test_every_line_is_a_name_and_an_exact_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)] == []


def test_what_is_asked_for_is_pinned_within_its_bounds() -> None:
    pinned = [(each, PINS.get(canonicalize_name(each.name))) for each in ASKED]
    wrong = {str(each): pin for each, pin in pinned if pin is None or not each.specifier.contains(pin)}
    assert wrong == {}


def test_everything_has_a_lower_bound_and_no_upper_one() -> None:
    operators = {each.name: {clause.operator for clause in each.specifier} for each in ASKED}
    assert {name: found for name, found in operators.items() if found != {">="}} == {}
