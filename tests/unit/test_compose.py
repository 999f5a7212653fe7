"""The compose file and the Dockerfile agree with the code that they run."""

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from pydantic_core import PydanticUndefined

from tests.settings_page import FIELDS
from worker.cli import main
from worker.settings import ClientSettings, FleetSettings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
WORKERS = {name: SERVICES[name] for name in SERVICES if name.startswith("worker-")}
OURS = [name for name in SERVICES if SERVICES[name].get("build")]
VARIABLES = {name.upper() for name in FIELDS}


def command_of(name: str) -> click.Command:
    command = main.get_command(click.Context(main), name)
    assert command is not None, f"uplynk-export has no command {name}"
    return command


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_there_is_a_service_for_each_part() -> None:
    assert set(SERVICES) == {
        "redis",
        "postgres",
        "migrate",
        "worker-exports",
        "worker-downloads",
        "flower",
        "console",
        "emulator",
        "metrics",
        "prometheus",
        "grafana",
    }
    for name in ("console", "emulator"):
        assert SERVICES[name]["profiles"] == [name]
    for name in ("metrics", "prometheus", "grafana"):
        assert SERVICES[name]["profiles"] == ["monitoring"]


def test_the_workers_serve_every_queue_of_the_application(app: Any) -> None:
    served = {option(worker["command"], "--queues") for worker in WORKERS.values()}
    assert served == {queue.name for queue in app.conf.task_queues}


@pytest.mark.parametrize("name", list(WORKERS))
def test_a_workers_health_is_asked_of_its_own_node(name: str) -> None:
    worker = WORKERS[name]
    assert option(worker["command"], "--app") == "worker"
    node = option(worker["command"], "--hostname")
    check = worker["healthcheck"]["test"][1]
    assert f"--destination {node.replace('%h', '$$HOSTNAME')}" in check
    assert "inspect ping" in check


@pytest.mark.parametrize(
    "name", [name for name in OURS if SERVICES[name]["command"][0] != "celery"]
)
def test_commands_of_ours_exist_with_their_options(name: str) -> None:
    program, command, *arguments = SERVICES[name]["command"]
    assert program == "uplynk-export"
    known = {text for option in command_of(command).params for text in option.opts}
    assert {text for text in arguments if text.startswith("--")} <= known


@pytest.mark.parametrize("name", [*WORKERS, "migrate", "flower", "metrics", "console"])
def test_variables_are_settings(name: str) -> None:
    given = set(SERVICES[name]["environment"])
    theirs = {"FLOWER_BASIC_AUTH", "FLOWER_ADDRESS", "FLOWER_PORT", "FORWARDED_ALLOW_IPS"}
    assert given - theirs <= VARIABLES
    assert {"DATABASE_URL", "CELERY_BROKER_URL"} <= given


def test_the_emulators_variables_are_its_options() -> None:
    known = {f"EMULATOR_{option.name.upper()}" for option in command_of("emulator").params}
    assert set(SERVICES["emulator"]["environment"]) <= known


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "migrate"])
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", OURS)
def test_what_is_ours_does_not_run_as_root(name: str) -> None:
    uid = SERVICES[name]["user"]
    assert uid == "10001"
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert f"USER {uid}" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", OURS)
def test_what_is_ours_writes_to_its_volume_and_to_a_tmp_in_memory_only(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    (tmp,) = SERVICES[name]["tmpfs"]
    path, _, options = tmp.partition(":")
    assert path == "/tmp"  # noqa: S108  (that of the container)
    assert re.search(r"\bsize=\d+[mg]\b", options), "or it may take all of the memory"
    assert {"noexec", "nosuid", "nodev"} <= set(options.split(","))
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in SERVICES[name]


@pytest.mark.parametrize("name", list(WORKERS))
def test_what_a_worker_keeps_is_on_the_volume_which_is_its_users_home(name: str) -> None:
    (volume,) = WORKERS[name]["volumes"]
    source, home = volume.split(":")
    assert source in COMPOSE["volumes"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    # a new volume takes over the owner of the folder of the image that it is mounted on
    assert f"useradd --system --uid 10001 --home-dir {home} --create-home" in dockerfile
    assert f"WORKDIR {home}" in dockerfile
    environment = WORKERS[name]["environment"]
    assert environment["SCRATCH_DIR"].startswith(f"{home}/")
    assert f"file://{home}/" in environment["STORAGE_URL"]


@pytest.mark.parametrize("name", list(WORKERS))
def test_a_worker_is_given_the_time_that_it_takes_to_end(name: str) -> None:
    seconds = int(WORKERS[name]["stop_grace_period"].removesuffix("s"))
    assert 10 < seconds <= 20
    assert WORKERS[name]["init"] is True, "or SIGTERM would not reach it"


def test_only_pages_for_people_are_reached_from_outside_and_from_this_machine_only() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {
        "flower": ["127.0.0.1:5555:5555"],
        "console": ["127.0.0.1:5556:5556"],
        "prometheus": ["127.0.0.1:9090:9090"],
        "grafana": ["127.0.0.1:3000:3000"],
    }
    assert not any("network_mode" in service for service in SERVICES.values())


def test_flower_does_not_start_without_a_password() -> None:
    environment = SERVICES["flower"]["environment"]
    assert environment["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")
    assert not any("FLOWER_UNAUTHENTICATED_API" in str(service) for service in SERVICES.values())


def test_the_operators_page_is_asked_for_its_health_where_it_listens() -> None:
    port = option(SERVICES["console"]["command"], "--port")
    assert f"http://127.0.0.1:{port}/health" in SERVICES["console"]["healthcheck"]["test"][-1]
    assert "env_file" not in SERVICES["console"], "or it had the key to Uplynk"
    assert SERVICES["console"]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_operators_page_believes_the_proxy_that_it_is_told_of() -> None:
    environment = SERVICES["console"]["environment"]
    assert environment["FORWARDED_ALLOW_IPS"] == "${FORWARDED_ALLOW_IPS:-127.0.0.1}"


def test_who_only_counts_is_given_what_it_counts_by_and_no_secret() -> None:
    metrics = SERVICES["metrics"]
    assert "env_file" not in metrics, "or it had the key to Uplynk"
    for name in FleetSettings.model_fields.keys() - ClientSettings.model_fields.keys():
        default = FleetSettings.model_fields[name].default
        value = "" if default is PydanticUndefined else default
        given = metrics["environment"][name.upper()]
        assert given == f"${{{name.upper()}:-{value}}}" or name == "metrics_host", name


def test_redis_keeps_an_append_only_file() -> None:
    assert SERVICES["redis"]["command"] == ["redis-server", "--appendonly", "yes"]
    assert SERVICES["redis"]["volumes"]


def test_what_starts_after_what() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for worker in WORKERS.values():
        assert worker["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }


def test_there_are_no_secrets_in_the_file() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    secret = r"^ *(\w*(?:PASSWORD|KEY|SECRET|AUTH)\w*): *(\S.*)$"
    for name, value in re.findall(secret, text, re.MULTILINE):
        assert value.startswith("${") or value in {'"true"', '"false"', "Viewer"}, name
    assert re.findall(r"://[^:/\s]+:(?!\$\{)[^@\s]+@", text) == []


def test_the_image_holds_every_package_that_is_installed() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for package in ("models", "migrations", "worker", "emulator"):
        assert f"COPY {package} {package}" in dockerfile
    assert "--constraint constraints.txt" in dockerfile


def test_prometheus_scrapes_whoever_tells_something() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    fleet, workers = config["scrape_configs"]
    metrics = SERVICES["metrics"]
    assert fleet["static_configs"] == [
        {"targets": [f"metrics:{option(metrics['command'], '--port')}"]}
    ]
    (found,) = workers["dns_sd_configs"]
    assert set(found["names"]) == set(WORKERS)
    for service in (metrics, *WORKERS.values()):
        assert service["environment"]["METRICS_HOST"] == "0.0.0.0"  # noqa: S104  (of the container)
    for worker in WORKERS.values():
        assert worker["environment"]["METRICS_PORT"] == str(found["port"])
    for rules in config["rule_files"]:
        assert (ROOT / "deploy/prometheus" / rules).exists()


def test_prometheus_and_grafana_are_given_their_files_and_cannot_write_to_them() -> None:
    for name in ("prometheus", "grafana"):
        for volume in SERVICES[name]["volumes"]:
            source, _, rest = volume.partition(":")
            if source.startswith("./"):
                assert (ROOT / source).is_dir()
                assert rest.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"]
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]


def test_grafana_shows_the_dashboard_and_lets_nobody_change_anything() -> None:
    grafana = SERVICES["grafana"]
    environment = grafana["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    mounted = dict(reversed(volume.split(":")[:2]) for volume in grafana["volumes"])
    home = Path(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (ROOT / mounted[str(home.parent)] / home.name).exists()
    provisioning = ROOT / mounted["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/dashboards.yml").read_text())[
        "providers"
    ]
    assert provider["options"]["path"] == str(home.parent)
    assert provider["allowUiUpdates"] is False
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    dashboard = (ROOT / mounted[str(home.parent)] / home.name).read_text()
    assert f'"uid": "{source["uid"]}"' in dashboard
