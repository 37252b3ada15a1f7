"""The server's settings: environment variables, read once at start; `ci-server --help` lists them."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ci_common.bundle import BundleLimits
from ci_common.sizes import size_of

_PREFIX = "CI_"

Size = Annotated[int, BeforeValidator(size_of), Field(gt=0)]


class ServerSettings(BaseSettings):
    """Each field is an environment variable: its name in capitals behind `CI_`."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, frozen=True)

    max_upload_bytes: Size = Field(default=8 << 30, description="Largest archive that is accepted.")
    max_unpacked_bytes: Size = Field(default=16 << 30, description="Most that an archive may unpack to.")
    max_bundle_entries: int = Field(
        default=250_000, gt=0, description="Most files and folders in an archive."
    )
    upload_idle_seconds: float = Field(
        default=60.0, gt=0, description="An upload of which nothing comes for so long is given up."
    )
    upload_min_bytes_per_second: int = Field(
        default=1024, ge=0, description="An upload slower than this on average is given up; 0 allows any."
    )
    stream_ping_seconds: float = Field(
        default=15.0,
        gt=0,
        description="Time between two comments that keep an event stream's connection open.",
    )
    stream_send_seconds: float = Field(
        default=60.0, gt=0, description="An event stream whose reader takes nothing for so long is closed."
    )

    def bundle_limits(self) -> BundleLimits:
        """What an uploaded archive may hold."""
        return BundleLimits(max_entries=self.max_bundle_entries, max_unpacked_bytes=self.max_unpacked_bytes)


def variable_of(field: str) -> str:
    """The environment variable that a field is read from."""
    return _PREFIX + field.upper()


def described_settings() -> Iterator[tuple[str, str, str]]:
    """Name of the environment variable, default and description of each setting."""
    for name, field in ServerSettings.model_fields.items():
        yield variable_of(name), str(field.default), field.description or ""
