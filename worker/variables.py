"""Variables: what may stand in a variable of the environment, kind by kind.

No message of a validator quotes the value: it may hold a password. That of urlsplit does, and
that of int, so they end here.
"""

import re
import string
from base64 import b64decode
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

EMBEDDED = "embedded"
# The brokers that this is written for: Redis and RabbitMQ, as kombu names them.
BROKERS = ("redis", "rediss", "redis+socket", "amqp", "amqps", "pyamqp", "sqs")
LEAST_PASSWORD = 12
STORES = ("file", "s3", "gs", "az", "abfs", "abfss")
KEY_SAMPLE = {"account": "a" * 32, "asset": "b" * 32, "audio": "he-aac", "export_id": UUID(int=1)}

MOST_SECRETS = 2
SECRET_BYTES = range(24, 65)

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_KEY = re.compile(r"[A-Za-z0-9._=+,@~/-]+")


def _stripped(value: Any) -> Any:  # noqa: ANN401  (whatever was given)
    return value.strip() if isinstance(value, str) else value  # files of secrets end in a newline


def _typeable(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not key.isascii() or not key.isprintable():
        raise ValueError("must be printable ASCII characters")
    return value


def _users(value: SecretStr) -> SecretStr:
    for name, password in named_users(value):
        if not name or not password:
            raise ValueError("must be of the form name:password, separated by commas")
        if len(password) < LEAST_PASSWORD:
            raise ValueError(f"has a password of less than {LEAST_PASSWORD} characters")
    names = [name for name, _ in named_users(value)]
    if len(names) != len(set(names)):
        raise ValueError("names somebody twice")
    return value


def named_users(value: SecretStr) -> Iterator[tuple[str, str]]:
    """Give the name and the password of each who is named, as they stand there."""
    for each in value.get_secret_value().split(","):
        name, _, password = each.strip().partition(":")
        yield name, password


def _http_url(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or " " in value:
        raise ValueError("must be an http:// or https:// URL")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must hold no user, query or fragment")
    return value.rstrip("/")


def _database_url(value: str) -> str:
    try:
        backend = make_url(value).get_backend_name()
    except (ArgumentError, ValueError):  # the latter quotes what it takes for the port
        raise ValueError("is no database URL, such as postgresql://host/name") from None
    if backend not in {"sqlite", "postgresql", "postgres"}:
        raise ValueError(f"must be SQLite or PostgreSQL, not {backend}")
    return value


def _broker_url(value: str) -> str:
    # no more is asked: kombu takes lists of URLs too, separated by semicolons
    scheme = _SCHEME.match(value)
    if value != EMBEDDED and not (scheme and value[scheme.end() :].startswith("//")):
        raise ValueError("must be `embedded` or a broker's URL, such as redis://host:6379/0")
    if scheme and scheme.group().rstrip(":").lower() not in BROKERS:
        raise ValueError(f"must be a broker of one of: {', '.join(BROKERS)}")
    return value


def _not_embedded(value: str) -> str:
    if value == EMBEDDED:
        raise ValueError("must be a broker's URL; what is embedded is CELERY_BROKER_URL's")
    return value


def _storage_url(value: str) -> str:
    if value and not _SCHEME.match(value):
        return Path(value).resolve().as_uri()
    parts = _split(value)
    if parts.scheme not in STORES:
        raise ValueError(f"must be a folder or a URL of one of: {', '.join(STORES)}")
    if parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no password, query or fragment")
    is_folder = parts.scheme == "file"
    if is_folder and (parts.netloc or not value[len("file:") :].startswith("///")):
        raise ValueError("must have three slashes after file:")
    if not is_folder and not parts.netloc:
        raise ValueError("must name a bucket")
    return value


def _storage_key(value: str) -> str:
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(value) if name is not None}
    except ValueError as error:
        raise ValueError(f"is no template: {error}") from None
    if unknown := fields - KEY_SAMPLE.keys():
        raise ValueError(
            f"has unknown fields: {', '.join(sorted(unknown)) or '{}'};"
            f" there are: {', '.join(sorted(KEY_SAMPLE))}"
        )
    if "export_id" not in fields:
        raise ValueError("must hold {export_id}, or one export would overwrite another")
    try:
        key = value.format(**KEY_SAMPLE)
    except (ValueError, TypeError):
        raise ValueError("has a field with a format that can't be used") from None
    if str(KEY_SAMPLE["export_id"]) not in key:
        raise ValueError("must hold all of {export_id}, or one export would overwrite another")
    path = PurePosixPath(key)
    if path.is_absolute() or ".." in path.parts or str(path) != key:
        raise ValueError("must be a plain relative path, without `..`")
    if not _KEY.fullmatch(key):  # else the file's URL would have to be quoted
        raise ValueError("may hold ASCII letters, digits and any of . _ = + , @ ~ / -")
    if path.suffix != ".mp4":
        raise ValueError("must end in .mp4; captions are stored beside it as .ttml")
    return value


def _folder(value: Any) -> Any:  # noqa: ANN401  (whatever was given)
    if value == "":
        raise ValueError("must name a folder")
    return value


def _upper(value: Any) -> Any:  # noqa: ANN401  (whatever was given)
    return value.upper() if isinstance(value, str) else value


def _convertible(value: bool) -> bool:
    if value and find_spec("pycaption") is None:
        raise ValueError("needs the extra `webvtt`: pip install 'uplynk-export[webvtt]'")
    return value


def _or_off(value: Any) -> Any:  # noqa: ANN401  (whatever was given)
    return None if isinstance(value, str) and not value.strip() else value


def _split_hosts(value: Any) -> Any:  # noqa: ANN401  (whatever was given)
    if not isinstance(value, str):
        return value
    return tuple(host.strip().lower().strip(".") for host in value.split(",") if host.strip())


def _hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must name at least one host")
    if not all(_HOST.fullmatch(host) or _is_network(host) for host in value):
        raise ValueError(
            "must be plain host names, without scheme, port or `*`,"
            " or networks such as 10.1.0.0/16, with no bit set behind the prefix"
        )
    return value


def _maybe_hosts(value: tuple[str, ...]) -> tuple[str, ...]:
    return _hosts(value) if value else value


def _secrets(value: SecretStr | None) -> SecretStr | None:
    """Let one or two secrets pass that a webhook can be signed by.

    Their length is that of the specification: between 24 and 64 bytes (Standard Webhooks,
    "Signature scheme").
    """
    secrets = [] if value is None else split_secrets(value)
    if not secrets:
        return None
    if len(secrets) > MOST_SECRETS:
        raise ValueError(f"must be one secret, or {MOST_SECRETS} separated by a comma")
    for secret in secrets:
        try:
            size = len(b64decode(secret.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        if not secret.startswith("whsec_") or size not in SECRET_BYTES:
            raise ValueError(
                "must be whsec_ and 24 to 64 random bytes in Base64: echo"
                " whsec_$(openssl rand -base64 32)"
            )
    return value


def split_secrets(value: SecretStr) -> list[str]:
    """Return the secrets that a variable holds."""
    return [secret.strip() for secret in value.get_secret_value().split(",") if secret.strip()]


def _is_network(host: str) -> bool:
    try:
        ip_network(host)  # an address is one, too
    except ValueError:
        return False
    return True


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # only read here, and raises if it is none
    except ValueError:
        raise ValueError("is no URL that can be read") from None
    return parts


MaybeOff = BeforeValidator(_or_off)
_Secret = Annotated[SecretStr, AfterValidator(_typeable)]
ApiKey = Annotated[SecretStr, BeforeValidator(_stripped), AfterValidator(_typeable)]
Users = Annotated[
    Annotated[_Secret, AfterValidator(_users)] | None, MaybeOff, BeforeValidator(_stripped)
]
ConsoleSecret = Annotated[
    Annotated[_Secret, Field(min_length=32)] | None, MaybeOff, BeforeValidator(_stripped)
]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url)]
StorageUrl = Annotated[str, AfterValidator(_storage_url)]
FilesUrl = Annotated[HttpUrl | None, MaybeOff]
StorageKey = Annotated[str, AfterValidator(_storage_key)]
Folder = Annotated[Path, BeforeValidator(_folder)]
WebVtt = Annotated[bool, AfterValidator(_convertible)]
MaybeHosts = Annotated[tuple[str, ...], BeforeValidator(_split_hosts), AfterValidator(_maybe_hosts)]
MaybeResultBackend = Annotated[str | None, MaybeOff]
MaybeBrokerUrl = Annotated[Annotated[BrokerUrl, AfterValidator(_not_embedded)] | None, MaybeOff]
WebhookSecrets = Annotated[SecretStr | None, BeforeValidator(_stripped), AfterValidator(_secrets)]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)
]
Hosts = Annotated[tuple[str, ...], BeforeValidator(_split_hosts), AfterValidator(_hosts)]
