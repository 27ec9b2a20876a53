"""The options of ranks and machines: which go together, and what follows from them."""

from __future__ import annotations

import pytest

from app.config.load import Settings, SettingsError, load_settings

FOLLOWER = (
    "--data-parallel-size 4 --data-parallel-start-rank 2 --data-parallel-address 10.0.0.1 --leader-url http://a:1"
)
OVER_MACHINES = "--tensor-parallel-size 2 --nnodes 2 --master-addr 10.0.0.1"


def settings_of(flags: str, *, is_follower: bool = False) -> Settings:
    return load_settings(flags.split(), {}, is_follower=is_follower)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--data-parallel-size 0", "--data-parallel-size: must be at least 1, got 0"),
        ("--data-parallel-size-local 1", "--data-parallel-size-local: needs --data-parallel-size with more than one"),
        (
            "--data-parallel-size 2 --data-parallel-size-local 3",
            "--data-parallel-size-local: must be at most --data-parallel-size, 2, got 3",
        ),
        (
            "--data-parallel-size 3 --data-parallel-size-local 1",
            "--data-parallel-size-local: 2 of 3 copies would run on other machines; give --data-parallel-address",
        ),
        (
            "--data-parallel-size 2 --data-parallel-size-local 1 --data-parallel-address x --api-server-count 2",
            "--api-server-count: more than one is for ranks on this machine",
        ),
        (
            "--data-parallel-size 2 --data-parallel-size-local 1 --data-parallel-address x --enable-lora",
            "--enable-lora: adapters are files of this machine",
        ),
        ("--node-rank 1", "--node-rank: must be less than --nnodes, 1, got 1"),
        ("--nnodes 2 --tensor-parallel-size 2", "--nnodes: needs --master-addr"),
        ("--nnodes 2 --tensor-parallel-size 3 --master-addr x", "--nnodes: the 3 parts"),
        (f"{OVER_MACHINES} --node-rank 1", "--node-rank: of the server must be 0; the other machines run"),
        (f"{OVER_MACHINES} --distributed-executor-backend ray", "--nnodes: cannot be combined with ray"),
        (
            f"{OVER_MACHINES} --data-parallel-size 2 --data-parallel-size-local 1",
            "--data-parallel-size-local: cannot be combined with --nnodes, from which it follows",
        ),
        ("--distributed-executor-backend mpi", "--distributed-executor-backend: must be one of 'mp' or 'ray'"),
        ("--leader-url http://a:1", "--leader-url: an option of `twowire engine`; for followers"),
        ('--engine-args {"data_parallel_size":2}', "--engine-args: 'data_parallel_size' has its own option"),
        ('--engine-args {"data_parallel_rank":1}', "--engine-args: data_parallel_rank: each rank would need a server"),
    ],
)
def test_a_server_that_could_not_run_so_says_why(flags: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings_of(flags)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--port 1", "--port: an option of `twowire serve`; a follower has no use for it"),
        ("", "--leader-url: must be given"),
        ("--leader-url 10.0.0.1:8000", "--leader-url: must be the leader's address, such as http://10.0.0.1:8000"),
        ("--leader-url http://a:b", "--leader-url: must be the leader's address"),
        ("--leader-url http://a:1", "--data-parallel-size: a follower needs more than one copy of the model, or"),
        ("--leader-url http://a:1 --data-parallel-size 2", "--data-parallel-start-rank: must be given"),
        (
            "--leader-url http://a:1 --data-parallel-size 2 --data-parallel-start-rank 1",
            "--data-parallel-address: must be given",
        ),
        (f"{FOLLOWER} --data-parallel-start-rank 4", "--data-parallel-start-rank: must be less than"),
        (f"{FOLLOWER} --data-parallel-size-local 3", "--data-parallel-size-local: must be from 1 to 2, got 3"),
        (f"{OVER_MACHINES} --leader-url http://a:1", "--node-rank: must be at least 1; machine 0 runs"),
    ],
)
def test_a_follower_that_could_not_run_so_says_why(flags: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings_of(flags, is_follower=True)
    assert str(error.value).startswith(message)


def test_the_places_of_all_copies_are_admitted() -> None:
    settings = settings_of("--max-num-seqs 10 --data-parallel-size 3")
    assert settings.admission.running == 30
    assert settings.engine.ranks.arguments["data_parallel_size"] == 3
    assert (settings.ranks.local, settings.ranks.remote, settings.ranks.has_followers) == (3, 0, False)


def test_a_leader_knows_what_runs_elsewhere() -> None:
    ranks = settings_of(
        "--data-parallel-size 4 --data-parallel-size-local 1 --data-parallel-address 10.0.0.1"
    ).engine.ranks
    assert (ranks.local, ranks.remote, ranks.has_followers) == (1, 3, True)
    ranks = settings_of(OVER_MACHINES).engine.ranks
    assert (ranks.local, ranks.remote, ranks.has_followers) == (1, 0, True)
    assert ranks.arguments["distributed_executor_backend"] == "mp"
    assert not {"leader_url", "follower_timeout_s", "data_parallel_address"} & ranks.arguments.keys()


def test_a_follower_runs_the_rest_of_the_copies_and_needs_no_keys() -> None:
    settings = load_settings(FOLLOWER.split(), {"TWOWIRE_HOST": "0.0.0.0"}, is_follower=True)
    assert settings.engine.ranks.data_parallel_size_local == 2
    assert settings.engine.ranks.arguments["data_parallel_start_rank"] == 2
    assert settings_of(f"{OVER_MACHINES} --node-rank 1 --leader-url http://a:1", is_follower=True).ranks.node_rank == 1


def test_a_follower_checks_no_options_of_the_server_alone() -> None:
    variables = {
        "TWOWIRE_API_KEYS_FILE": "/missing/keys",
        "TWOWIRE_ADMIN_API_KEY_FILE": "/missing/admin",
        "TWOWIRE_CERTFILE": "/missing/certificate",
        "TWOWIRE_RELAY_PORT": "9000",
        "TWOWIRE_LORA_DIR": "/missing/adapters",
        "TWOWIRE_MODEL_ALIAS": "a=unknown",
    }
    settings = load_settings(FOLLOWER.split(), variables, is_follower=True)
    assert not settings.engine.adapters.is_enabled
    with pytest.raises(SettingsError, match="--engine-args: 'data_parallel_size' has"):
        settings_of(f'{FOLLOWER} --engine-args {{"data_parallel_size":2}}', is_follower=True)


def test_a_file_may_be_for_the_leader_and_a_follower() -> None:
    variables = {"TWOWIRE_DATA_PARALLEL_START_RANK": "1", "TWOWIRE_LEADER_URL": "http://a:1/"}
    settings = load_settings(["--data-parallel-size", "2"], variables)
    assert "data_parallel_start_rank" not in settings.engine.ranks.arguments
    assert settings.ranks.leader_url == "http://a:1"
