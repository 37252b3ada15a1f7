"""What the engine holds of one installation, seen through the engine's own interface."""

import uuid
from collections.abc import Generator
from contextlib import contextmanager

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.networks import Network

LABEL_INSTANCE = "ci.instance"
LABEL_ROLE = "ci.role"


class Engine:
    """Looks at things that carry the label of an installation, and at nothing else."""

    def __init__(self, client: docker.DockerClient, instance: str) -> None:
        self._client = client
        self._instance = instance

    def _filters(self, *more: str) -> dict[str, str | list[str] | bool]:
        return {"label": [f"{LABEL_INSTANCE}={self._instance}", *more]}

    def containers(self, job_id: str | None = None) -> list[Container]:
        """Its containers in any state, without those that only wait; a job's have its id in their names."""
        # Some vanish between the listing and the look that the SDK takes at each.
        found = self._client.containers.list(all=True, filters=self._filters(), ignore_removed=True)
        return [c for c in found if not _waits(c) and (job_id is None or job_id in str(c.name))]

    def running(self, job_id: str) -> Container | None:
        """A running container of the job."""
        return next((c for c in self.containers(job_id) if c.status == "running"), None)

    def testing(self, job_id: str) -> Container | None:
        """A running container that runs the job's tests."""
        found = self.containers(job_id)
        return next((c for c in found if c.status == "running" and "install-" not in str(c.name)), None)

    def installing(self, job_id: str) -> Container | None:
        """A running container that installs packages for the job."""
        return self.running(f"install-{job_id}")

    def waiting(self) -> list[Container]:
        """Its running containers that were started ahead and belong to no job yet."""
        found = self._client.containers.list(filters=self._filters(f"{LABEL_ROLE}=warm"), ignore_removed=True)
        return [c for c in found if _waits(c)]

    def disturb(self, container: Container, how: str) -> None:
        """Kill, pause or remove one, as an administrator might, whatever is done with it meanwhile."""
        with _gone_is_fine():
            match how:
                case "kill":
                    container.kill()
                case "pause":
                    container.pause()
                case _:
                    container.remove(force=True)

    def make_orphan(self, prefix: str, image: str) -> str:
        """A container with all the labels of a job that nobody knows; its id."""
        job_id = str(uuid.uuid4())
        labels = {
            LABEL_INSTANCE: self._instance,
            LABEL_ROLE: "job",
            "ci.job": job_id,
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
        for container in [*self.containers(), *self.waiting()]:
            with _gone_is_fine():
                container.remove(force=True)
        for name in self.volumes():
            with _gone_is_fine():
                self.remove_volume(name)
        for network in self._networks():
            with _gone_is_fine(), _miscounted_is_fine():
                network.remove()
        for image in self._client.images.list(all=True, filters=self._filters()):
            with _gone_is_fine():
                self._client.images.remove(str(image.id), force=True)

    def _networks(self) -> list[Network]:
        return self._client.networks.list(filters=self._filters())  # pyright: ignore[reportUnknownMemberType] - stub


def _waits(container: Container) -> bool:
    return str(container.name).startswith("ci-warm-")


@contextmanager
def _miscounted_is_fine() -> Generator[None]:
    try:
        yield
    except APIError as error:
        # An engine that is busy with many containers at once miscounts what is connected to a network.
        if error.status_code != 403 or "active endpoints" not in str(error):
            raise


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
