"""What the engine holds of one installation, seen through the engine's own interface."""

import uuid
from collections.abc import Generator
from contextlib import contextmanager

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.networks import Network

LABEL_INSTANCE = "ci.instance"
LABEL_JOB = "ci.job"
LABEL_ROLE = "ci.role"


class Engine:
    """Looks at things that carry the label of an installation, and at nothing else."""

    def __init__(self, client: docker.DockerClient, instance: str) -> None:
        self._client = client
        self._instance = instance

    def _filters(self, *more: str) -> dict[str, str | list[str] | bool]:
        return {"label": [f"{LABEL_INSTANCE}={self._instance}", *more]}

    def containers(self, job_id: str | None = None, role: str | None = None) -> list[Container]:
        """Its containers, whatever their state."""
        more = [f"{LABEL_JOB}={job_id}"] if job_id is not None else []
        more += [f"{LABEL_ROLE}={role}"] if role is not None else []
        # Some vanish between the listing and the look that the SDK takes at each.
        return self._client.containers.list(all=True, filters=self._filters(*more), ignore_removed=True)

    def running(self, job_id: str, role: str | None = None) -> Container | None:
        """A running container of the job."""
        return next((c for c in self.containers(job_id, role) if c.status == "running"), None)

    def make_orphan(self, prefix: str, image: str) -> str:
        """A container with all the labels of a job that nobody knows; its id."""
        job_id = str(uuid.uuid4())
        labels = {
            LABEL_INSTANCE: self._instance,
            LABEL_ROLE: "job",
            LABEL_JOB: job_id,
            "ci.fence": "1",
            "ci.attempt": "1",
            "ci.slot": "0",
            "ci.frames": "1",
        }
        made = self._client.containers.run(
            image, ["sleep", "3600"], entrypoint=[], name=f"{prefix}{job_id}", labels=labels, detach=True
        )
        return str(made.id)

    def exists(self, container_id: str) -> bool:
        """Whether the engine has this container."""
        try:
            self._client.containers.get(container_id)
        except NotFound:
            return False
        return True

    def volumes(self) -> list[str]:
        """Names of its volumes."""
        return [str(volume.name) for volume in self._client.volumes.list(filters=self._filters())]

    def remove_volume(self, name: str) -> None:
        """Delete one, as an administrator might."""
        self._client.volumes.get(name).remove()

    def remove_everything(self) -> None:
        """Leave nothing of the installation behind."""
        for container in self.containers():
            with _gone_is_fine():
                container.remove(force=True)
        for name in self.volumes():
            with _gone_is_fine():
                self.remove_volume(name)
        for network in self._networks():
            with _gone_is_fine():
                network.remove()
        for image in self._client.images.list(all=True, filters=self._filters()):
            with _gone_is_fine():
                self._client.images.remove(str(image.id), force=True)

    def _networks(self) -> list[Network]:
        return self._client.networks.list(filters=self._filters())  # pyright: ignore[reportUnknownMemberType] - stub


@contextmanager
def _gone_is_fine() -> Generator[None]:
    try:
        yield
    except NotFound:
        pass
    except APIError as error:
        # "removal is already in progress": the engine is about it.
        if error.status_code != 409:
            raise
