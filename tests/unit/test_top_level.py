"""What stands at the top of the repository, so that nothing gathers there."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

EXPECTED = {
    *("ci_admin", "ci_client", "ci_common", "ci_controller", "ci_persistence", "ci_server"),
    *("tests", "benchmarks", "scripts", "docs"),
    *("pyproject.toml", "pytest.ini", "README.md", "CLAUDE.md", "LICENSE"),
}
LEFT_BY_TOOLS = {"build", "dist", "__pycache__"}


def test_the_top_level_is_what_it_should_be() -> None:
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - LEFT_BY_TOOLS == EXPECTED


def test_the_entry_of_continuous_integration_can_be_run() -> None:
    for name in (".ci/run", "scripts/demo", "scripts/test", "scripts/up"):
        assert (ROOT / name).stat().st_mode & 0o100, f"{name} has no run bit"
