"""Makes a container fit to become a base image: runs in it as root, once, while the image is built.

A program of its own, standard library alone, any Python >= 3.9, in any Linux image; `image_build` sends its
source as the container's command. It makes the users and folders that jobs need and tries what they need.

argv: `--install` where it may fetch what is missing from the distribution and the package index. Writes one
JSON object to stdout: `python` (such as "3.11"), `uv` (its version, "" where none runs), `notes` (lines for
people). Exit 0, or one line on stderr.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 9)
JOB_USER = "ci"
JOB_UID = 10_000
FIRST_SLOT_UID = 20_000
SLOTS = 256
HOME = "/home/ci"
FOLDERS = ("/workspace", "/env", "/job", "/opt/ci", HOME)
UV = "/usr/local/bin/uv"
CALL_SECONDS = 600


def missing_users(passwd: str) -> list[tuple[str, int]]:
    """Who is not in the text of /etc/passwd yet: the job's user, and one for each concurrent job.

    The uids of the slots have names so that programs which look their own user up find one.
    """
    taken_names, taken_uids = set[str](), set[int]()
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit():
            taken_names.add(fields[0])
            taken_uids.add(int(fields[2]))
    wanted = [(JOB_USER, JOB_UID)]
    wanted += [(f"{JOB_USER}{slot}", FIRST_SLOT_UID + slot) for slot in range(SLOTS)]
    return [(name, uid) for name, uid in wanted if name not in taken_names and uid not in taken_uids]


def add_users() -> None:
    """Write the missing users and their groups, without passwords, unable to log in."""
    passwd, group = Path("/etc/passwd"), Path("/etc/group")
    users = missing_users(passwd.read_text() if passwd.exists() else "root:x:0:0:root:/root:/bin/sh\n")
    append(passwd, [f"{name}:*:{uid}:{uid}::{HOME}:/bin/sh" for name, uid in users])
    append(group, [f"{name}:*:{uid}:" for name, uid in users])


def append(file: Path, lines: list[str]) -> None:
    """Add whole lines to a text file that may lack its last newline, or not exist."""
    text = file.read_text() if file.exists() else ""
    if text and not text.endswith("\n"):
        text += "\n"
    file.write_text(text + "".join(f"{line}\n" for line in lines))


def make_folders() -> None:
    """All that jobs expect; /home/ci belongs to the job's user."""
    for folder in FOLDERS:
        Path(folder).mkdir(mode=0o755, parents=True, exist_ok=True)
    os.chown(HOME, JOB_UID, JOB_UID)


def output_of(*command: str) -> str:
    """What a program says; empty where it can't be run or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def uv_version() -> str:
    """The version of the uv that runs here; empty where none does."""
    return output_of(UV, "--version").removeprefix("uv ").partition(" ")[0]


def install_uv() -> str:
    """From the package index, for images on which the one that was put here doesn't run."""
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-cache-dir")
    said = output_of(*pip, "--break-system-packages", "uv") or output_of(*pip, "uv")
    found = output_of(sys.executable, "-c", "import uv; print(uv.find_uv_bin())")
    if not found:
        return said
    Path(UV).unlink(missing_ok=True)
    Path(UV).symlink_to(found)
    return uv_version()


def install_packages() -> None:
    """What only some controllers need: a controller without root closes the network from in here."""
    if shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin:/bin") or not shutil.which("apt-get"):
        return
    output_of("apt-get", "-qq", "update")
    output_of("apt-get", "-qq", "install", "-y", "--no-install-recommends", "iptables", "ca-certificates")
    for leftover in Path("/var/lib/apt/lists").glob("*_*"):
        leftover.unlink()


def main() -> None:
    """See the module's docstring."""
    if sys.version_info[:2] < OLDEST_PYTHON:
        sys.exit(f"its Python is {sys.version.split()[0]}; 3.9 or newer is needed")
    may_install = "--install" in sys.argv
    add_users()
    make_folders()
    version = uv_version()
    if may_install:
        if not version:
            version = install_uv()
        install_packages()
    notes: list[str] = []
    if not shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin:/bin"):
        notes.append("no iptables in it: only a controller with root can close the jobs' network")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    sys.stdout.write(json.dumps({"python": python, "uv": version, "notes": notes}) + "\n")


if __name__ == "__main__":
    main()
