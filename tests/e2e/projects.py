"""Small projects, written as they are needed."""

import io
import tarfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

RAW = ("-p", "no:terminal", "-s")
"""Arguments with which pytest itself prints nothing: stdout is what the tests write, byte for byte."""


class ProjectMaker:
    """Makes projects in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __call__(self, files: Mapping[str, str | bytes], *, requirements: str | None = "pytest\n") -> Path:
        """A project of these files; texts lose their indentation."""
        self._count += 1
        root = self._folder / f"project-{self._count}"
        root.mkdir(parents=True)
        if requirements is not None:
            (root / "requirements.txt").write_text(requirements)
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(textwrap.dedent(content), encoding="utf-8")
            else:
                path.write_bytes(content)
        return root

    def test(self, body: str, *, requirements: str = "pytest\n") -> Path:
        """A project of one test file."""
        return self({"tests/test_it.py": body}, requirements=requirements)

    def writing(self, *pieces: bytes, pause_seconds: float = 0) -> Path:
        """A project whose only test writes these pieces to stdout, each by one call."""
        return self(
            {
                "tests/test_it.py": f"""
                    import os, pathlib, time

                    def test_it():
                        payload = pathlib.Path("payload").read_bytes()
                        for size in {[len(piece) for piece in pieces]}:
                            piece, payload = payload[:size], payload[size:]
                            while piece:
                                piece = piece[os.write(1, piece):]
                            time.sleep({pause_seconds})
                    """,
                "payload": b"".join(pieces),
            }
        )


COUNTING = """
    import os, time

    def test_counts():
        for number in range(%d):
            os.write(1, b"line %%d\\n" %% number)
            time.sleep(%g)
    """
"""A test that prints numbered lines, with a pause behind each."""


def counting(lines: int, pause_seconds: float) -> str:
    """The test file that prints so many lines."""
    return COUNTING % (lines, pause_seconds)


def counted(lines: int) -> bytes:
    """What it prints."""
    return b"".join(b"line %d\n" % number for number in range(lines))


def sdist(name: str, backend: str) -> bytes:
    """A source distribution that is built by the backend that it brings along."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": textwrap.dedent(backend),
        "PKG-INFO": "Metadata-Version: 2.1\nName: {}\nVersion: {}\n".format(*name.split("-")),
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(f"{name}/{path}")
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return archive.getvalue()
