"""Variables: each kind of them, with what it takes and what it refuses."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from worker.errors import SettingsError
from worker.settings import Settings, load

OWNER = "0123456789abcdef0123456789abcdef"


def loaded(**given: Any) -> Settings:
    return load(
        _env_file=None, **{"uplynk_user_id": OWNER, "uplynk_api_key": "emulator-key", **given}
    )


def refused(**given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(**given)
    (line,) = str(caught.value).splitlines()[1:]
    name, _, said = line.strip().partition(": ")
    assert name.lower() in given
    return said


@pytest.mark.parametrize("owner", ["", "E" * 32, "e" * 31, "e" * 33, "g" * 32, "-" * 32])
def test_an_account_is_32_hex_digits(owner: str) -> None:
    assert "pattern" in refused(uplynk_user_id=owner)


def test_a_newline_at_the_end_of_a_secret_is_no_part_of_it() -> None:
    settings = loaded(uplynk_user_id=f"{OWNER}\n", uplynk_api_key="emulator-key\n")
    assert settings.uplynk_user_id == OWNER
    assert settings.uplynk_api_key.get_secret_value() == "emulator-key"


@pytest.mark.parametrize("key", ["clé-clé-clé", "key\nkey-key", "key-key\0key", "key\u2028key-key"])
def test_a_key_is_what_can_be_typed(key: str) -> None:
    assert refused(uplynk_api_key=key) == "must be printable ASCII characters"


@pytest.mark.parametrize("key", ["", "       ", "1234567", "1234567 \n"])
def test_a_key_has_a_length(key: str) -> None:
    assert "at least 8" in refused(uplynk_api_key=key)


def test_a_key_that_is_no_text_is_refused() -> None:
    assert "valid string" in refused(uplynk_api_key=b"\xff" * 9)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://services.uplynk.com/", "https://services.uplynk.com"),
        ("http://127.0.0.1:8900", "http://127.0.0.1:8900"),
        ("http://[::1]:8900/uplynk//", "http://[::1]:8900/uplynk"),
        (" https://x\n", "https://x"),
    ],
)
def test_where_uplynk_is_ends_in_no_slash(url: str, kept: str) -> None:
    assert loaded(uplynk_api_url=url).uplynk_api_url == kept


@pytest.mark.parametrize(
    "url",
    [
        "",
        "services.uplynk.com",
        "ftp://x",
        "https://",
        "https:///api2",
        "https://x y",
        "https://x:port",
        "https://x:99999",
        "https://[",
        "https://x\u2100",
        "https://u:p@x",
        "https://x?a=b",
        "https://x#a",
    ],
)
def test_where_uplynk_is_not(url: str) -> None:
    assert refused(uplynk_api_url=url).startswith(("must ", "is no URL"))


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db", "sqlite://", "postgresql+psycopg://u:p@h:5/db", "postgres://h/db"]
)
def test_a_database_is_sqlite_or_postgresql(url: str) -> None:
    assert loaded(database_url=url).database_url == url


@pytest.mark.parametrize("url", ["", "x", "postgresql://u:p@ss:word@h/db", "postgresql://h:x/db"])
def test_a_database_that_is_no_url_is_not_quoted(url: str) -> None:
    assert refused(database_url=url) == "is no database URL, such as postgresql://host/name"


def test_another_database_is_named() -> None:
    said = refused(database_url="mysql://u:p@h/db")
    assert said == "must be SQLite or PostgreSQL, not mysql"


@pytest.mark.parametrize(
    "url",
    [
        "embedded",
        "redis://h:6379/0",
        "amqp://u:p[@h//",
        "redis+socket:///run/redis.sock",
        "amqp://a//;amqp://b//",
        "sqs://",
    ],
)
def test_a_broker_is_any_that_works_here(url: str) -> None:
    assert loaded(celery_broker_url=url).celery_broker_url == url


@pytest.mark.parametrize("url", ["sentinel://a:26379", "http://h", "memory://"])
def test_a_broker_that_does_not_work_here_is_refused(url: str) -> None:
    said = refused(celery_broker_url=url)
    assert said.startswith("must be a broker of one of: redis, rediss,")


@pytest.mark.parametrize("url", ["", "localhost:6379", "redis", "redis:/x", "//h", "Embedded"])
def test_a_broker_has_a_scheme(url: str) -> None:
    assert refused(celery_broker_url=url).startswith("must be `embedded` or a broker's URL")


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket/a/b",
        "gs://b",
        "az://c/d",
        "file:///srv/exports",
        "abfss://files@account.dfs.core.windows.net/a",
    ],
)
def test_a_store_is_kept_as_it_is(url: str) -> None:
    assert loaded(storage_url=url).storage_url == url


@pytest.mark.parametrize("folder", ["exports", "./a b%41#c?d", "a/é", "/srv/a:b"])
def test_a_folder_becomes_a_url(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert loaded(storage_url=folder).storage_url == (tmp_path / folder).as_uri()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "memory:///",
        "http://x",
        "C:/exports",
        "s3:",
        "s3://",
        "s3:bucket",
        "file://srv/x",
        "file:srv",
        "file:",
        "file:/srv",
        "file:///a?b",
        "file:///a#b",
        "s3://u:p@b",
        "s3://b?x=1",
        "s3://[",
        "gs://x\u2100",
    ],
)
def test_a_store_that_would_lose_files_is_refused(url: str) -> None:
    assert refused(storage_url=url).startswith(("must ", "is no URL"))


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("{asset}/{export_id}.mp4", "A/ID.mp4"),
        ("{export_id}.mp4", "ID.mp4"),
        ("x-{account}/{audio}/{asset:.2}/{export_id}.x.mp4", "x-O/he-aac/aa/ID.x.mp4"),
        ("a=1/{export_id!s}.mp4", "a=1/ID.mp4"),
    ],
)
def test_a_key_template_makes_a_key(template: str, key: str) -> None:
    asset, export_id = "a" * 32, uuid4()
    made = loaded(storage_key=template).storage_key.format(
        account="O", asset=asset, audio="he-aac", export_id=export_id
    )
    assert made == key.replace("ID", str(export_id)).replace("A", asset)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("", "must hold {export_id}"),
        ("{asset}.mp4", "must hold {export_id}"),
        ("{{export_id}}.mp4", "must hold {export_id}"),
        ("{export_id!s:.8}.mp4", "must hold all of"),
        ("{export_id", "is no template"),
        ("{export_id}}.mp4", "is no template"),
        ("{}{export_id}.mp4", "unknown fields: {}"),
        ("{0}{export_id}.mp4", "unknown fields: 0"),
        ("{export_id.hex}.mp4", "unknown fields: export_id.hex"),
        ("{asset[0]}{export_id}.mp4", "unknown fields: asset[0]"),
        ("{title}/{export_id}.mp4", "unknown fields: title"),
        ("{export_id:x}.mp4", "format that can't be used"),
        ("{asset:{account}}/{export_id}.mp4", "format that can't be used"),
        ("/{export_id}.mp4", "plain relative path"),
        ("../{export_id}.mp4", "plain relative path"),
        ("a/../{export_id}.mp4", "plain relative path"),
        ("./{export_id}.mp4", "plain relative path"),
        ("a//{export_id}.mp4", "plain relative path"),
        ("{asset:.0}/{export_id}.mp4", "plain relative path"),
        ("a b/{export_id}.mp4", "may hold"),
        ("a%2e/{export_id}.mp4", "may hold"),
        ("{export_id}#1.mp4", "may hold"),
        ("{export_id!r}.mp4", "may hold"),
        ("é{export_id}.mp4", "may hold"),
        ("a\\{export_id}.mp4", "may hold"),
        ("{export_id}", "must end in .mp4"),
        ("{export_id}.mp4.ttml", "must end in .mp4"),
        ("{export_id}/.mp4", "must end in .mp4"),
    ],
)
def test_a_key_template_that_would_lose_files_is_refused(template: str, says: str) -> None:
    assert says in refused(storage_key=template)


def test_a_folder_for_scratch_has_a_name() -> None:
    assert refused(scratch_dir="") == "must name a folder"
    assert loaded(scratch_dir="/x").scratch_dir == Path("/x")


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ("uplynk.com", ("uplynk.com",)),
        (" .Uplynk.com. ,, cdn-1.x_y.net ", ("uplynk.com", "cdn-1.x_y.net")),
        ("127.0.0.1,::1", ("127.0.0.1", "::1")),
        ("emulator, 172.16.0.0/12,FD00::/8", ("emulator", "172.16.0.0/12", "fd00::/8")),
        (("a", "b"), ("a", "b")),
    ],
)
def test_hosts_are_separated_by_commas(given: object, hosts: tuple[str, ...]) -> None:
    assert loaded(download_hosts=given).download_hosts == hosts


@pytest.mark.parametrize("given", ["", " , ", ()])
def test_there_is_a_host(given: object) -> None:
    assert refused(download_hosts=given) == "must name at least one host"


@pytest.mark.parametrize(
    "given",
    [
        ".",
        "*.uplynk.com",
        "http://uplynk.com",
        "uplynk.com:80",
        "a b",
        "-a",
        "é.com",
        "a/",
        "10.1.0.1/16",
        "10.0.0.0/33",
    ],
)
def test_a_host_that_would_match_nothing_is_refused(given: str) -> None:
    assert refused(download_hosts=f"x.com,{given}").startswith("must be plain host names")
