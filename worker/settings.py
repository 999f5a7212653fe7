"""Settings: what the environment says, checked as a whole before anything starts."""

from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.database import DEFAULT_URL
from worker import variables
from worker.errors import SettingsError

EMBEDDED = variables.EMBEDDED
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Bytes = Annotated[int, Field(ge=0, le=10**18)]
Hours = Annotated[float, Field(gt=0, le=24 * 365)]
Days = Annotated[float, Field(gt=0, le=365 * 100)]
# What is off where the variable is missing, or empty.
JobAge = Annotated[Annotated[float, Field(gt=0, le=72)] | None, variables.MaybeOff]
HistoryAge = Annotated[Days | None, variables.MaybeOff]
# Uplynk keeps a job for 72 hours. Its record here must outlive it, or the job would be nobody's.
RecordsAge = Annotated[Annotated[Days, Field(ge=4)] | None, variables.MaybeOff]
Port = Annotated[Annotated[int, Field(ge=1, le=65535)] | None, variables.MaybeOff]

MOST_CONNECT_SECONDS = 10.0

_Loaded = TypeVar("_Loaded", bound="ClientSettings")


# Of two kinds of settings.
STORAGE_URL: Any = Field(
    "./var/exports",
    repr=False,
    description="Where files end up: a folder, `file:///…`, `s3://bucket/prefix`, `gs://…`,"
    " `az://…`.",
)


class ClientSettings(BaseSettings):
    """What it takes to send a request and to read what became of it, without Uplynk's key."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        str_strip_whitespace=True,
    )

    database_url: variables.DatabaseUrl = Field(
        DEFAULT_URL, repr=False, description="SQLite or PostgreSQL, as SQLAlchemy writes it."
    )
    celery_broker_url: variables.BrokerUrl = Field(
        EMBEDDED,
        repr=False,
        description="`redis://…`, `amqp://…`, or `embedded`: a broker inside `uplynk-export worker`"
        " that other processes of this folder find by themselves.",
    )


class AccountSettings(ClientSettings):
    """What it takes to say whose assets are meant, still without Uplynk's key."""

    uplynk_user_id: str = Field(
        pattern=r"^[0-9a-f]{32}$", description="The account's user id: 32 digits, 0-9 and a-f."
    )


class ServiceSettings(AccountSettings):
    """What takes whatever runs on, and writes a log, still without Uplynk's key."""

    log_level: variables.LogLevel = Field(
        "INFO",
        description="The least urgent lines that are shown: `DEBUG`, `INFO`, `WARNING`, `ERROR` or"
        " `CRITICAL`. Celery's own `--loglevel` beats it.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json`, `console`, or `auto`: console on a terminal, else JSON."
    )


class FleetSettings(ServiceSettings):
    """What it takes to watch all workers of an account, still without Uplynk's key."""

    max_exporting: int = Field(
        100, ge=1, le=1_000_000, description="Exports under way at Uplynk at the same time."
    )
    download_backlog_hours: float = Field(
        24.0,
        gt=0,
        le=48,
        description="How long it may take to bring what is under way at Uplynk and what waits, at"
        " the rate of the last hour; no more is exported than that. Uplynk erases what is 72 hours"
        " old.",
    )
    metrics_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="The address at which metrics are served; `0.0.0.0` for all of this machine's."
        " Whoever reaches it may read them.",
    )

    @cached_property
    def download_backlog(self) -> timedelta:
        """How long it may take to bring what is under way and what waits."""
        return timedelta(hours=self.download_backlog_hours)


class ConsoleSettings(ServiceSettings):
    """What the operator's page takes, still without Uplynk's key."""

    console_users: variables.Users = Field(
        None,
        description="Who may log in to the operator's page, as `name:password`; several are"
        " separated by commas. A password has 12 characters at least, and no comma. Secret.",
    )
    console_secret: variables.ConsoleSecret = Field(
        None,
        description="What signs the sessions of the operator's page, of 32 characters at least."
        " Without it each start makes one up, and whoever was logged in logs in again. Secret.",
    )
    console_files_url: variables.FilesUrl = Field(
        None,
        description="Where a browser finds what is below `STORAGE_URL`, such as"
        " `https://media.example.com/exports`: the operator's page links its files there.",
    )
    storage_url: variables.StorageUrl = STORAGE_URL


class Settings(FleetSettings):
    """The worker's settings, each the variable of its name in upper case.

    Each field's description is what docs/settings.md says of it.
    """

    uplynk_api_key: variables.ApiKey = Field(
        min_length=8, description="The account's API key, by which each call is signed. Secret."
    )
    uplynk_api_url: variables.HttpUrl = Field(
        "https://services.uplynk.com", description="Where Uplynk's services are."
    )
    uplynk_timeout_seconds: Seconds = Field(
        30.0, description="How long one call to Uplynk may take to answer."
    )
    storage_url: variables.StorageUrl = STORAGE_URL
    storage_key: variables.StorageKey = Field(
        "{asset}/{export_id}.mp4",
        description="A file's name below it, with `{export_id}` in it and `.mp4` at its end; it may"
        " hold `{account}`, `{asset}` and `{audio}` as well.",
    )
    scratch_dir: variables.Folder = Field(
        Path("var/scratch"), description="Where downloads grow before they are published."
    )
    download_hosts: Annotated[variables.Hosts, NoDecode] = Field(
        ("uplynk.com",),
        description="Hosts that files may come from, with their subdomains; separated by commas."
        " A private address is taken only if its network is listed as well: `10.1.0.0/16`.",
    )
    download_streams: int = Field(
        8,
        ge=1,
        le=64,
        description="The most connections that bring one file; how many do is found out by what"
        " they are good for. 1: never more than one.",
    )
    download_streams_per_host: int = Field(
        16,
        ge=0,
        le=1024,
        description="The most connections to one host, for all downloads that share `SCRATCH_DIR`,"
        " beyond the first of each.",
    )
    download_min_bytes_per_second: float = Field(
        1000.0,
        ge=0,
        description="A connection that brings less, on a minute's average, is given up.",
    )
    audio_mismatch: Literal["warn", "fail"] = Field(
        "warn",
        description="What a film comes to whose sound is not of the AAC profile that was asked for:"
        " `warn`, or `fail`.",
    )
    duration_mismatch: Literal["fail", "warn"] = Field(
        "fail",
        description="What a film comes to that is shorter than Uplynk says its asset is: `fail`, or"
        " `warn`.",
    )
    duration_tolerance_seconds: float = Field(
        5.0, ge=0, le=86_400, description="How much shorter or longer a film may be than its asset."
    )
    captions_webvtt: variables.WebVtt = Field(
        False,  # noqa: FBT003  (pydantic's default)
        description="Whether captions are stored as WebVTT as well; takes the extra `webvtt`.",
    )
    max_file_bytes: Bytes = Field(
        200_000_000_000, ge=1, description="A file that is larger fails its export."
    )
    scratch_reserve_bytes: Bytes = Field(
        1 << 30,
        description="What must stay free in `SCRATCH_DIR` for a download to begin.",
    )
    poll_min_seconds: Seconds = Field(5.0, description="The shortest wait between two looks.")
    poll_max_seconds: Seconds = Field(300.0, description="The longest wait between two looks.")
    poll_ratio: float = Field(
        0.1, gt=0, le=1, description="The wait between two looks, as a part of the job's age."
    )
    jobs_per_page: int = Field(
        100,
        ge=1,
        le=10_000,
        description="How many jobs of Uplynk's list are asked for at once; where Uplynk refuses,"
        " half as many, and so on.",
    )
    export_deadline_hours: Hours = Field(
        24.0, description="An export that Uplynk hasn't finished by then has failed."
    )
    retry_deadline_hours: Hours = Field(
        24.0, description="A step that has failed for so long without a break fails the export."
    )
    total_deadline_hours: Hours = Field(
        24.0 * 14,
        description="An export that still fails at something so long after it was first asked for,"
        " or retried, has failed.",
    )
    download_deadline_hours: Hours = Field(
        12.0,
        description="How long one attempt at a download may last; the next goes on at its byte.",
    )
    reexports_of_lost_jobs: int = Field(
        1,
        ge=0,
        le=100,
        description="How often an export whose job Uplynk erased before its file was brought is"
        " made, and paid for, again by itself.",
    )
    submit_settle_seconds: Seconds = Field(
        20.0,
        description="How long a job that may have been created is given to show up in Uplynk's"
        " list, twice, before it is created again.",
    )
    uplynk_calls_per_second: float = Field(
        20.0,
        ge=0.1,
        le=10_000,
        description="How many calls all workers make to Uplynk together; fewer for a while where it"
        " says that it is too much.",
    )
    delete_jobs_after_hours: JobAge = Field(
        None,
        description="How long after its file was stored a job is taken off Uplynk's list, so that"
        " the list stays short; at the most 72, when Uplynk erases it by itself. A job that is gone"
        " can't be fetched again should the stored file be found damaged: that is another export,"
        " and paid for.",
    )
    keep_history_days: HistoryAge = Field(
        None,
        description="How long after its end an export's changes of state stay on record; `show`"
        " tells no story of it after that.",
    )
    keep_records_days: RecordsAge = Field(
        None,
        description="How long after its end an export stays on record, with its requests; 4 at"
        " least. Its file stays where it is. A request that is sent again with its old id after"
        " that is a new one, and paid for.",
    )
    claim_seconds: Seconds = Field(
        60.0,
        ge=2,
        description="How long a killed worker's step stays its own before another takes it over.",
    )
    sweep_seconds: Seconds = Field(
        5.0, ge=0.2, description="How often each worker looks for work whose message was lost."
    )
    celery_result_backend: variables.MaybeResultBackend = Field(
        None,
        repr=False,
        description="Where `exports.status` puts its answers, as Celery writes it: `redis://…`,"
        " `rpc://`. Without one nobody can ask by it; what else is done leaves no result.",
    )
    callback_broker_url: variables.MaybeBrokerUrl = Field(
        None,
        repr=False,
        description="The broker that callbacks are sent to, if it is another than"
        " `CELERY_BROKER_URL`.",
    )
    webhook_hosts: Annotated[variables.MaybeHosts, NoDecode] = Field(
        (),
        description="Hosts that webhooks may be sent to, with their subdomains; separated by"
        " commas. A private address is taken only if its network is listed as well: `10.1.0.0/16`."
        " Without any no webhook is sent.",
    )
    webhook_secret: variables.WebhookSecrets = Field(
        None,
        description="By which webhooks are signed, as Standard Webhooks has it: `whsec_…`, 24 to 64"
        " random bytes in Base64. Two, separated by a comma, while the one takes the place of the"
        " other: both sign. Secret.",
    )
    webhook_timeout_seconds: float = Field(
        15.0, ge=0.5, le=60, description="How long a webhook's receiver may take to answer."
    )
    metrics_port: Port = Field(
        None,
        description="The port at which a worker serves what its own processes count, for"
        " Prometheus; each worker of a machine needs one of its own.",
    )

    @field_validator("poll_max_seconds")
    @classmethod
    def _is_longer(cls, value: float, info: Any) -> float:  # noqa: ANN401  (pydantic's)
        if value < info.data.get("poll_min_seconds", 0):
            raise ValueError("must not be less than POLL_MIN_SECONDS")
        return value

    @cached_property
    def poll_min(self) -> timedelta:
        """The shortest wait between two looks."""
        return timedelta(seconds=self.poll_min_seconds)

    @cached_property
    def poll_max(self) -> timedelta:
        """The longest wait between two looks."""
        return timedelta(seconds=self.poll_max_seconds)

    @cached_property
    def sweep(self) -> timedelta:
        """How often each worker looks for work whose message was lost."""
        return timedelta(seconds=self.sweep_seconds)

    @cached_property
    def company(self) -> timedelta:
        """How long a job that is due waits for others: the lag that is promised has a sweep."""
        return min(self.poll_min, self.sweep)

    @cached_property
    def export_deadline(self) -> timedelta:
        """How long Uplynk may take for an export."""
        return timedelta(hours=self.export_deadline_hours)

    @cached_property
    def retry_deadline(self) -> timedelta:
        """How long a step may fail without a break."""
        return timedelta(hours=self.retry_deadline_hours)

    @cached_property
    def total_deadline(self) -> timedelta:
        """How long an export may fail at whatever, from its first call on."""
        return timedelta(hours=self.total_deadline_hours)

    @cached_property
    def download_deadline(self) -> timedelta:
        """How long one attempt at a download may last."""
        return timedelta(hours=self.download_deadline_hours)

    @cached_property
    def delete_jobs_after(self) -> timedelta | None:
        """How long after its file was stored a job is taken off Uplynk's list; None: it is not."""
        hours = self.delete_jobs_after_hours
        return None if hours is None else timedelta(hours=hours)

    @cached_property
    def keep_history(self) -> timedelta | None:
        """How long after its end an export's history stays on record; None for ever."""
        days = self.keep_history_days
        return None if days is None else timedelta(days=days)

    @cached_property
    def keep_records(self) -> timedelta | None:
        """How long after its end an export stays on record; None for ever."""
        days = self.keep_records_days
        return None if days is None else timedelta(days=days)

    @cached_property
    def submit_settle(self) -> timedelta:
        """How long a job is given to show up in the list."""
        return timedelta(seconds=self.submit_settle_seconds)

    @cached_property
    def claim(self) -> timedelta:
        """How long a claim holds unless it is renewed."""
        return timedelta(seconds=self.claim_seconds)

    @cached_property
    def webhook_secrets(self) -> list[str]:
        """What webhooks are signed by: none, one or two."""
        return variables.split_secrets(self.webhook_secret) if self.webhook_secret else []

    @cached_property
    def uplynk_connect_seconds(self) -> float:
        """How long connecting to Uplynk may take."""
        return min(self.uplynk_timeout_seconds, MOST_CONNECT_SECONDS)

    @cached_property
    def call(self) -> timedelta:
        """How long one call to Uplynk takes at the most, as far as that can be said."""
        return timedelta(seconds=self.uplynk_connect_seconds + self.uplynk_timeout_seconds)

    @cached_property
    def call_claim(self) -> timedelta:
        """How long the claim of a step holds that calls Uplynk, and can't renew it meanwhile."""
        return self.claim + self.call


def load(**given: Any) -> Settings:  # noqa: ANN401  (any field)
    """Return the settings of the environment (and `.env`), with those `given` in their place.

    Raises:
        SettingsError: one message that names every wrong variable, and never shows its value.
    """
    return _loaded(Settings, given)


def load_client() -> ClientSettings:
    """Return those of the environment's settings that a client needs; raises as `load` does."""
    return _loaded(ClientSettings, {})


def load_fleet() -> FleetSettings:
    """Return those that it takes to watch all workers; raises as `load` does."""
    return _loaded(FleetSettings, {})


def load_account() -> AccountSettings:
    """Return those that an operator needs; raises as `load` does."""
    return _loaded(AccountSettings, {})


def load_console() -> ConsoleSettings:
    """Return those that the operator's page takes; raises as `load` does.

    Raises:
        SettingsError: also where nobody is named who may log in.
    """
    settings = _loaded(ConsoleSettings, {})
    if settings.console_users is None:
        raise SettingsError(
            "CONSOLE_USERS is not set, and without a login there is no operator's page. Say who may"
            " log in: CONSOLE_USERS=name:password, where the password has 12 characters at least"
        )
    return settings


def _loaded(kind: type[_Loaded], given: dict[str, Any]) -> _Loaded:
    try:
        return kind(**given)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in wrong['loc']).upper()}: {_said(wrong)}"
            for wrong in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError(
            "These settings are wrong (.env.example documents them):\n" + "\n".join(sorted(lines))
        ) from None
    except UnicodeDecodeError:
        raise SettingsError("The file .env can't be read: it is not UTF-8") from None


def _said(wrong: Any) -> str:  # noqa: ANN401  (pydantic's ErrorDetails)
    if wrong["type"] == "missing":
        return "is not set"
    return str(wrong["msg"]).removeprefix("Value error, ")
