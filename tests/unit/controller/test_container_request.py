import dataclasses
from dataclasses import replace

from ci_common.ids import Fence, InstanceId, JobId, VolumeName
from ci_controller import engine_json
from ci_controller.container_request import (
    NO_NETWORK,
    ContainerRequest,
    EnvironmentMount,
    JobLimits,
    engine_config,
)
from ci_controller.container_view import Role

INSTANCE = InstanceId("11111111-2222-3333-4444-555555555555")
REQUEST = ContainerRequest(
    name="ci-job",
    image="ci-job:1",
    role=Role.JOB,
    job_id=JobId("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"),
    fence=Fence(7),
    attempt=1,
    slot=0,
    limits=JobLimits(memory_bytes=1 << 30, cpus=1.5, pids=100),
    network=NO_NETWORK,
    environment=EnvironmentMount(VolumeName("ci-env-1"), read_only=True),
    frames_version=1,
)


def host_config(request: ContainerRequest) -> engine_json.Json:
    return engine_json.mapping(engine_config(request, INSTANCE), "HostConfig")


def test_nothing_of_the_host_is_mounted() -> None:
    config = host_config(REQUEST)
    assert "Binds" not in config
    assert [mount["Type"] for mount in engine_json.mappings(config["Mounts"])] == ["volume"]
    assert host_config(dataclasses.replace(REQUEST, environment=None))["Mounts"] == []


def test_the_environment_is_mounted_as_asked_and_labelled_in_case_the_engine_makes_it() -> None:
    [mount] = engine_json.mappings(host_config(REQUEST)["Mounts"])
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("ci-env-1", "/env", True)
    options = engine_json.mapping(mount, "VolumeOptions")
    assert options["Labels"] == {"ci.instance": INSTANCE}


def test_rights_are_the_four_that_the_runner_needs() -> None:
    config = host_config(REQUEST)
    assert config["CapDrop"] == ["ALL"]
    assert config["CapAdd"] == ["SETUID", "SETGID", "KILL", "CHOWN"]
    assert config["SecurityOpt"] == ["no-new-privileges"]
    assert "Privileged" not in config


def test_limits_are_the_engines_units_and_leave_no_swap() -> None:
    config = host_config(REQUEST)
    assert config["Memory"] == config["MemorySwap"] == 1 << 30
    assert (config["NanoCpus"], config["PidsLimit"], config["CpuShares"]) == (1_500_000_000, 100, 0)


def test_what_is_fetched_ahead_takes_the_processor_from_nobody() -> None:
    shares = host_config(replace(REQUEST, role=Role.FETCH))["CpuShares"]
    assert isinstance(shares, int)
    assert 0 < shares <= 1024 / 4


def test_the_log_is_complete_whatever_the_engine_defaults_to() -> None:
    assert host_config(REQUEST)["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "1024g", "mode": "blocking"},
    }


def test_stdin_closes_with_its_first_feeder_and_the_image_decides_nothing() -> None:
    config = engine_config(REQUEST, INSTANCE)
    assert (config["OpenStdin"], config["StdinOnce"], config["Tty"]) == (True, True, False)
    assert config["Entrypoint"] == ["python3", "-I", "-S", "/opt/ci/runner.py"]
    assert (config["Cmd"], config["User"], config["Healthcheck"]) == ([], "0:0", {"Test": ["NONE"]})
