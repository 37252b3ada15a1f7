"""What an administrator may set for the controller, read once at start from the environment."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ci_common.sizes import size_of


def _existing_file(path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise ValueError(f"{path} is not a file")
    return path


Size = Annotated[int, BeforeValidator(size_of), Field(gt=0)]
ExistingFile = Annotated[Path | None, AfterValidator(_existing_file)]


class JobNetwork(StrEnum):
    """What a job may reach."""

    INTERNET = "internet"
    NONE = "none"


def _usable_memory_bytes() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 0.8)


class ControllerSettings(BaseSettings):
    """Settings of `ci-controller`; each field's environment variable is its name with `CI_` before it."""

    model_config = SettingsConfigDict(env_prefix="CI_", env_ignore_empty=True)

    max_concurrent_jobs: int | None = Field(
        default=None, gt=0, description="jobs at once (cores, or what 80 % of the memory holds if less)"
    )
    job_timeout_seconds: float = Field(default=3600, gt=0, description="install and tests together")
    job_memory: Size = Field(default=2 << 30, description="memory of a job, for example 2g")
    job_cpus: float | None = Field(default=None, gt=0, description="CPUs of a job (all)")
    job_pids: int = Field(default=512, gt=0, description="processes and threads of a job")
    job_disk: Size = Field(default=10 << 30, description="disk of a job")
    job_network: JobNetwork = Field(default=JobNetwork.INTERNET, description="internet or none")
    job_network_allow_host: bool = Field(
        default=False,
        description="give jobs their network even where the host can't be closed against them",
    )
    warm_containers: int = Field(
        default=5,
        ge=0,
        description="containers started ahead of their jobs, at most; they are given up when memory is short",
    )
    max_log_bytes: Size = Field(default=256 << 20, description="output of a job")
    env_max_age_seconds: float = Field(default=86400, gt=0, description="age at which an environment expires")
    python_base_image: str | None = Field(
        default=None, description="image with a Python >= 3.9 (the platform builds its own)"
    )
    reconcile_interval: float = Field(default=2.0, gt=0, description="seconds between full listings")
    container_prefix: str = Field(
        default="ci-job-", pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$", description="before a job's id in names"
    )
    ca_bundle: ExistingFile = Field(default=None, description="PEM file that jobs trust too")
    pip_conf: ExistingFile = Field(default=None, description="pip.conf whose indexes jobs use")

    @property
    def capacity(self) -> int:
        """Jobs at once."""
        if self.max_concurrent_jobs is not None:
            return self.max_concurrent_jobs
        return max(1, min(self.cores, _usable_memory_bytes() // self.job_memory))

    @property
    def cores(self) -> int:
        """Of this machine."""
        return os.cpu_count() or 1

    @property
    def cpus(self) -> float:
        """Of one job."""
        return min(self.job_cpus or self.cores, self.cores)
