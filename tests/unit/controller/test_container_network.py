from pathlib import Path

import pytest

from ci_common.errors import InvalidInput
from ci_controller import firewall
from ci_controller.index_hosts import index_hosts
from ci_controller.network import engine_resolvers

RULES = firewall.rules("0123456789ab", "the-instance", ["10.0.0.53"], [("10.1.2.3", 8080)]).splitlines()


def in_chain(name: str) -> list[str]:
    return [line for line in RULES if line.startswith(f"-A CI-0123456789ab-{name} ")]


def test_chain_names_fit_into_what_iptables_takes() -> None:
    assert all(len(name) <= 28 for name in firewall.chains("0123456789ab"))


def test_chains_are_declared_so_that_they_are_replaced_in_one_step() -> None:
    assert RULES[:3] == ["*filter", ":CI-0123456789ab-HOST - [0:0]", ":CI-0123456789ab-FWD - [0:0]"]
    assert RULES[-1] == "COMMIT"


def test_the_host_is_closed_but_for_resolvers_and_indexes() -> None:
    accepted = [line for line in in_chain("HOST") if line.endswith("-j ACCEPT")]
    assert [line.split(" -m ")[0].partition("HOST ")[2] for line in accepted] == [
        "-d 10.0.0.53 -p udp --dport 53",
        "-d 10.0.0.53 -p tcp --dport 53",
        "-d 10.1.2.3 -p tcp --dport 8080",
    ]
    assert in_chain("HOST")[-1].endswith("-j REJECT")
    assert " -d " not in in_chain("HOST")[-1]


@pytest.mark.parametrize(
    "closed", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"]
)
def test_private_link_local_and_shared_addresses_are_closed_behind_the_exceptions(closed: str) -> None:
    lines = in_chain("FWD")
    refusals = [at for at, line in enumerate(lines) if f"-d {closed} " in line and "REJECT" in line]
    exceptions = [at for at, line in enumerate(lines) if "-j RETURN" in line][:-1]
    assert len(refusals) == 2
    assert max(exceptions) < min(refusals)


def test_other_containers_are_closed_and_the_rest_is_left_to_the_engine() -> None:
    lines = in_chain("FWD")
    assert {"docker+", "br-+", "ci-+"} == {line.split()[3] for line in lines if " -o " in line}
    assert lines[-1].endswith("-j RETURN")


def test_every_rule_names_the_installation() -> None:
    rules = [line for line in RULES if line.startswith("-A")]
    assert all('--comment "ci.instance=the-instance"' in line for line in rules)


def test_only_resolvers_that_containers_ask_themselves_count() -> None:
    text = "# nameserver 1.1.1.1\nnameserver 127.0.0.53\nnameserver fe80::1\nsearch x\nnameserver  10.0.0.2\n"
    assert firewall.resolvers_in(text) == ["10.0.0.2"]


def test_the_last_of_equal_rules_is_found_among_others() -> None:
    listing = "-P INPUT ACCEPT\n-A INPUT -i a -j B\n-A INPUT -i x -j Y\n-A INPUT -i a -j B\n"
    assert firewall.last_position(listing, ["-i", "a", "-j", "B"]) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"dns": ["10.0.0.9", "127.0.0.1", "::1"]}', ["10.0.0.9"]),
        ("{}", []),
        ("[]", []),
        ("not json", []),
    ],
)
def test_resolvers_of_the_engines_own_settings(tmp_path: Path, text: str, expected: list[str]) -> None:
    settings = tmp_path / "daemon.json"
    settings.write_text(text)
    assert engine_resolvers(settings) == expected


def test_an_engine_without_settings_names_no_resolvers(tmp_path: Path) -> None:
    assert engine_resolvers(tmp_path / "none") == []


def test_indexes_are_found_in_every_option_that_names_one() -> None:
    text = """
[global]
index-url = https://user:secret@packages.example:8443/simple
extra_index_url = http://one.example/simple
    https://two.example/simple
trusted-host = other.example
[install]
find-links = /wheels https://links.example/
proxy = http://proxy.example:3128
"""
    assert index_hosts(text) == {
        ("packages.example", 8443),
        ("one.example", 80),
        ("two.example", 443),
        ("links.example", 443),
        ("proxy.example", 3128),
    }


def test_odd_values_are_passed_over_and_percent_signs_are_no_syntax() -> None:
    assert (
        index_hosts("[global]\nindex-url = https://a%40b:c@host.example:99999/x\nfind-links = ftp:\n")
        == set()
    )


def test_what_is_no_pip_conf_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="CI_PIP_CONF"):
        index_hosts("index-url = https://no.section.example")
