"""Closes a bridge of containers against the host and its neighbours, and opens it again.

A program of its own, standard library alone, any Python >= 3.9: it is run with root's rights on the engine's
machine where the controller has them, else inside a short-lived container on the host's network (its source
is then the container's command). `network` decides which.

Invariants: from the bridge nothing reaches the host but name resolution and the package indexes that the
administrator named; what is forwarded reaches the internet, and no private, link-local or shared address,
and no other container. All rules lie in two chains of ours, which are replaced in one step, so that running
this again changes nothing; each rule names the installation.

argv: one JSON object with `action` ("close" or "open"), `bridge`, `tag`, `instance`, `resolvers` and
`allowed` (pairs of IPv4 address and port). Exit 0, or one line on stderr.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

TOOLS = ("iptables", "iptables-nft", "iptables-legacy")
ADMIN_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
CLOSED_RANGES = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
CONTAINER_BRIDGES = ("docker+", "br-+", "ci-+")
RESOLVER_FILES = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")
CALL_SECONDS = 30


class Order(TypedDict):
    """What is to be done; see the module's docstring."""

    action: str
    bridge: str
    tag: str
    instance: str
    resolvers: list[str]
    allowed: list[tuple[str, int]]


def chains(tag: str) -> tuple[str, str]:
    """Names of the chain for what is meant for the host and of that for what is forwarded."""
    return f"CI-{tag}-HOST", f"CI-{tag}-FWD"


def is_usable_resolver(address: str) -> bool:
    """Whether containers ask it over IPv4; a loopback one is asked by the engine itself."""
    return ":" not in address and not address.startswith("127.")


def resolvers_in(text: str) -> list[str]:
    """The usable name servers in the text of a resolv.conf."""
    words = (line.split() for line in text.splitlines())
    found = (line[1] for line in words if len(line) > 1 and line[0] == "nameserver")
    return [address for address in found if is_usable_resolver(address)]


def rules(tag: str, instance: str, resolvers: list[str], allowed: list[tuple[str, int]]) -> str:
    """Both chains, whole, as `iptables-restore` takes them."""
    mark = f'-m comment --comment "ci.instance={instance}"'
    host, forward = chains(tag)
    open_to = [f"-d {address} -p {kind} --dport 53" for address in resolvers for kind in ("udp", "tcp")]
    open_to += [f"-d {address} -p tcp --dport {port}" for address, port in allowed]
    lines = ["*filter", f":{host} - [0:0]", f":{forward} - [0:0]"]
    lines += [f"-A {host} {target} {mark} -j ACCEPT" for target in open_to]
    lines += refusals(host, "", mark)
    lines += [f"-A {forward} {target} {mark} -j RETURN" for target in open_to]
    for bridge in CONTAINER_BRIDGES:
        lines += refusals(forward, f"-o {bridge} ", mark)
    for closed in CLOSED_RANGES:
        lines += refusals(forward, f"-d {closed} ", mark)
    lines += [f"-A {forward} {mark} -j RETURN", "COMMIT", ""]
    return "\n".join(lines)


def refusals(chain: str, match: str, mark: str) -> list[str]:
    """Refused at once rather than dropped, so that a test that tries doesn't wait for minutes."""
    return [
        f"-A {chain} {match}-p tcp {mark} -j REJECT --reject-with tcp-reset",
        f"-A {chain} {match}{mark} -j REJECT",
    ]


def run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """One call of a tool, with its output as text."""
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=CALL_SECONDS, check=False
    )


def must(*command: str, text: str = "") -> None:
    """One call of a tool that has to succeed."""
    done = run(*command, text=text)
    if done.returncode:
        said = " ".join(done.stderr.split())
        sys.exit(f"{' '.join(command)} failed: {said or done.returncode}")


def find_tool() -> tuple[str, str]:
    """The iptables that the engine uses too, and the chain from which forwarded packets come."""
    tools = [path for name in TOOLS if (path := shutil.which(name, path=ADMIN_PATH))]
    if not tools:
        sys.exit("iptables is not installed")
    for tool in tools:
        if run(tool, "-w", "-n", "-L", "DOCKER-USER").returncode == 0:
            return tool, "DOCKER-USER"
    return tools[0], "FORWARD"


def jumps(bridge: str, tag: str, forward_from: str) -> list[tuple[str, list[str]]]:
    """The two rules through which our chains are reached, each with the chain that it lies in."""
    host, forward = chains(tag)
    return [("INPUT", ["-i", bridge, "-j", host]), (forward_from, ["-i", bridge, "-j", forward])]


def close(order: Order) -> None:
    """Put the chains in place, then lead the bridge's packets into them before anything else."""
    tool, forward_from = find_tool()
    resolvers = list(order["resolvers"])
    for name in RESOLVER_FILES:
        if Path(name).exists():
            resolvers += resolvers_in(Path(name).read_text())
    allowed = [(address, port) for address, port in order["allowed"]]
    text = rules(order["tag"], order["instance"], sorted(set(resolvers)), allowed)
    must(f"{tool}-restore", "-w", "-n", text=text)
    for chain, rule in jumps(order["bridge"], order["tag"], forward_from):
        # Inserted anew rather than looked for: only the first place is before everything else.
        must(tool, "-w", "-I", chain, "1", *rule)
        while run(tool, "-w", "-S", chain).stdout.count(f" {' '.join(rule)}\n") > 1:
            last = last_position(run(tool, "-w", "-S", chain).stdout, rule)
            must(tool, "-w", "-D", chain, str(last))


def last_position(listing: str, rule: list[str]) -> int:
    """Number of the last of the equal rules in `iptables -S CHAIN`."""
    added = [line for line in listing.splitlines() if line.startswith("-A ")]
    return max(at for at, line in enumerate(added, 1) if line.endswith(f" {' '.join(rule)}"))


def open_again(order: Order) -> None:
    """Take out whatever is there of the rules; what isn't is no error."""
    tool, forward_from = find_tool()
    for chain, rule in jumps(order["bridge"], order["tag"], forward_from):
        while run(tool, "-w", "-D", chain, *rule).returncode == 0:
            pass
    for chain in chains(order["tag"]):
        if run(tool, "-w", "-F", chain).returncode == 0:
            must(tool, "-w", "-X", chain)


def main() -> None:
    """See the module's docstring."""
    order: Order = json.loads(sys.argv[1])
    try:
        {"close": close, "open": open_again}[order["action"]](order)
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.exit(f"the firewall could not be changed: {error}")


if __name__ == "__main__":
    main()
