"""What a queued job's archive asks for: read once a job, in a thread, and kept until it has ended."""

import asyncio
from dataclasses import dataclass
from typing import BinaryIO

from ci_common.bundle import Bundle, BundleLimits, read_bundle
from ci_common.bundle_store import BundleStore
from ci_common.ids import JobId
from ci_common.models import Job
from ci_controller.environments import environment_key
from ci_controller.installer import InstallerSettings
from ci_controller.requirements import Requirements, read_requirements


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a job needs."""

    requirements: Requirements
    environment_key: str | None
    """None where the job installs everything itself."""


class Planner:
    """Reads archives; a job's plan stays the same as long as the image does."""

    def __init__(self, bundles: BundleStore, settings: InstallerSettings, max_unpacked_bytes: int) -> None:
        self._bundles = bundles
        self._settings = settings
        self._limits = BundleLimits(max_unpacked_bytes=max_unpacked_bytes)
        self._plans: dict[tuple[JobId, str], JobPlan] = {}

    async def plan(self, job: Job, image_id: str) -> JobPlan:
        """What `job` needs when it runs on `image_id`.

        Raises:
            NotFound: its archive is gone.
            BundleRejected: its archive is damaged.
            InvalidInput: the project can't be installed as it is.
        """
        plan = self._plans.get((job.id, image_id))
        if plan is None:
            plan = await asyncio.to_thread(self._read, job, image_id)
            self._plans[job.id, image_id] = plan
        return plan

    def knows(self, job_id: JobId) -> bool:
        """Whether it keeps a plan of the job."""
        return any(key[0] == job_id for key in self._plans)

    def forget(self, job_id: JobId) -> None:
        """The job has ended."""
        for key in [key for key in self._plans if key[0] == job_id]:
            del self._plans[key]

    def open(self, job: Job) -> BinaryIO:
        """The archive's file; blocks.

        Raises:
            NotFound: it is gone.
        """
        return self._bundles.open(job.id)

    def bundle(self, file: BinaryIO) -> Bundle:
        """The archive in `file`, judged again; blocks.

        Raises:
            BundleRejected: it is damaged.
        """
        return read_bundle(file, self._limits)

    def _read(self, job: Job, image_id: str) -> JobPlan:
        with self.open(job) as file:
            bundle = self.bundle(file)
            requirements = read_requirements(bundle, self._settings.sources)
            key = None
            if requirements.are_static:
                key = environment_key(job.user_id, image_id, self._settings, requirements, bundle)
            return JobPlan(requirements, key)
