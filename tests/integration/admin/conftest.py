"""An installation that nothing has touched yet."""

from pathlib import Path

import pytest

from tests.integration.admin.admin_command import AdminCommand


@pytest.fixture
def admin(tmp_path: Path) -> AdminCommand:
    """Commands on a data directory that doesn't exist yet."""
    return AdminCommand(tmp_path / "data")
