"""Settings: the environment is checked as a whole, and what is secret is never shown."""

import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from worker.errors import SettingsError
from worker.settings import Settings, load, load_console
from worker.variables import named_users

OWNER = "0123456789abcdef0123456789abcdef"
SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no .env of the machine's in; its variables no test sees (tests/conftest.py)."""
    monkeypatch.chdir(tmp_path)


def loaded(**given: Any) -> Settings:
    return load(**{"uplynk_user_id": OWNER, "uplynk_api_key": SECRET, **given})


def refused(**given: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(**given)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def everything_of(error: BaseException) -> str:
    """Return all texts of an error and of those behind it, also where a traceback hides them."""
    texts = traceback.format_exception(error)
    behind: BaseException | None = error
    while behind is not None:
        texts += [str(behind), repr(behind)]
        behind = behind.__cause__ or behind.__context__
    return "\n".join(texts)


def test_two_variables_are_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UPLYNK_USER_ID", OWNER)
    monkeypatch.setenv("UPLYNK_API_KEY", SECRET)
    settings = load()
    assert settings.uplynk_api_url == "https://services.uplynk.com"
    assert settings.celery_broker_url == "embedded"
    assert settings.storage_url == (tmp_path / "var/exports").as_uri()
    assert settings.download_hosts == ("uplynk.com",)


def test_one_message_names_every_wrong_variable_and_shows_no_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = {
        "UPLYNK_API_KEY": "hunter2",
        "UPLYNK_API_URL": "ftp://hunter2",
        "DATABASE_URL": "postgresql://u:p@ss:hunter2@host/db",
        "CELERY_BROKER_URL": "hunter2",
        "STORAGE_URL": "s3://u:hunter2\u2100@host",
        "STORAGE_KEY": "hunter2",
        "DOWNLOAD_HOSTS": "http://hunter2",
        "POLL_RATIO": "hunter2",
        "MAX_EXPORTING": "hunter2",
        "LOG_FORMAT": "hunter2",
        "CLAIM_SECONDS": "-1",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load()
    named = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]]
    assert named == sorted([*wrong, "UPLYNK_USER_ID"])
    assert "UPLYNK_USER_ID: is not set" in str(caught.value)
    assert "hunter2" not in everything_of(caught.value)


def test_no_secret_is_in_the_repr() -> None:
    settings = loaded(
        database_url=f"postgresql://u:{SECRET}@host/db",
        celery_broker_url=f"redis://:{SECRET}@host/0",
        storage_url=f"s3://{SECRET}/x",
    )
    assert SECRET not in f"{settings!r} {settings}"
    assert SECRET not in repr(settings.model_dump()["uplynk_api_key"])
    assert settings.uplynk_api_key.get_secret_value() == SECRET


def test_a_file_of_variables_is_read_and_unknown_ones_in_it_do_not_matter(tmp_path: Path) -> None:
    text = f"UPLYNK_USER_ID={OWNER}\nUPLYNK_API_KEY={SECRET}\nPOLL_RATIO=0.2\nPATH_OF_MINE=1\n"
    (tmp_path / ".env").write_text(text)
    assert load().poll_ratio == 0.2


def test_the_environment_goes_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("POLL_RATIO=0.2\n")
    monkeypatch.setenv("POLL_RATIO", "0.3")
    assert loaded().poll_ratio == 0.3


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"UPLYNK_API_KEY=\xff\xfe")
    with pytest.raises(SettingsError, match=r"\.env can't be read"):
        loaded()


def test_a_folder_named_like_the_file_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert loaded().poll_ratio == 0.1


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded().poll_ratio = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("poll_ratio", "nan", "less than or equal to 1"),
        ("poll_ratio", 0, "greater than 0"),
        ("poll_min_seconds", "inf", "less than or equal to 86400"),
        ("poll_min_seconds", "", "valid number"),
        ("export_deadline_hours", 0, "greater than 0"),
        ("max_exporting", 0, "greater than or equal to 1"),
        ("max_exporting", "1e3", "valid integer"),
        ("claim_seconds", 1, "greater than or equal to 2"),
        ("sweep_seconds", 0.1, "greater than or equal to 0.2"),
        ("delete_jobs_after_hours", 0, "greater than 0"),
        ("delete_jobs_after_hours", 73, "less than or equal to 72"),
        ("keep_history_days", -1, "greater than 0"),
        ("keep_records_days", "3.9", "greater than or equal to 4"),
        ("keep_records_days", "always", "valid number"),
        ("log_format", "JSON", "'auto', 'json' or 'console'"),
    ],
)
def test_a_number_or_word_out_of_its_range_is_refused(name: str, value: object, says: str) -> None:
    (line,) = refused(**{name: value})
    assert line.startswith(f"{name.upper()}: ")
    assert says in line


def test_the_longest_wait_is_not_below_the_shortest() -> None:
    line = "POLL_MAX_SECONDS: must not be less than POLL_MIN_SECONDS"
    assert refused(poll_min_seconds=10, poll_max_seconds=9) == [line]
    assert loaded(poll_min_seconds=9, poll_max_seconds=9).poll_max_seconds == 9


def test_a_wrong_shortest_wait_is_named_once() -> None:
    (line,) = refused(poll_min_seconds=-1, poll_max_seconds=1)
    assert line.startswith("POLL_MIN_SECONDS: ")


OFF = ("delete_jobs_after_hours", "keep_history_days", "keep_records_days")


@pytest.mark.parametrize("value", ["", " "])
def test_what_is_off_is_so_where_its_variable_is_empty(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name in OFF:
        assert getattr(loaded(), name) is None
        monkeypatch.setenv(name.upper(), value)
    settings = loaded()
    assert (settings.delete_jobs_after, settings.keep_history, settings.keep_records) == (None,) * 3


def test_what_is_off_is_on_where_its_variable_says_when(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(OFF, ("0.5", "7", " 30 "), strict=True):
        monkeypatch.setenv(name.upper(), value)
    settings = loaded()
    assert settings.delete_jobs_after == timedelta(minutes=30)
    assert (settings.keep_history, settings.keep_records) == (timedelta(7), timedelta(30))


def test_spans_have_their_units() -> None:
    settings = loaded(
        poll_min_seconds=1,
        poll_max_seconds=2,
        export_deadline_hours=3,
        retry_deadline_hours=4,
        submit_settle_seconds=5,
        claim_seconds=6,
    )
    assert (settings.poll_min, settings.poll_max) == (timedelta(seconds=1), timedelta(seconds=2))
    assert (settings.export_deadline, settings.retry_deadline) == (
        timedelta(hours=3),
        timedelta(hours=4),
    )
    assert (settings.submit_settle, settings.claim) == (timedelta(seconds=5), timedelta(seconds=6))


A_SECRET, ANOTHER = f"whsec_{'QUFB' * 8}", f"whsec_{'QkJC' * 20}"


def test_webhooks_are_signed_by_one_secret_or_by_two() -> None:
    assert loaded().webhook_secrets == []
    assert loaded(webhook_secret=A_SECRET).webhook_secrets == [A_SECRET]
    assert loaded(webhook_secret=f"{A_SECRET}, {ANOTHER}").webhook_secrets == [A_SECRET, ANOTHER]
    assert A_SECRET not in repr(loaded(webhook_secret=A_SECRET))


@pytest.mark.parametrize(
    "wrong",
    [
        "hunter2",
        A_SECRET.removeprefix("whsec_"),
        "whsec_hunter2",
        f"whsec_{'QUFB' * 7}",  # 21 bytes
        f"whsec_{'QUFB' * 22}",  # 66 bytes
        f"{A_SECRET},{ANOTHER},{A_SECRET}",
    ],
)
def test_a_secret_that_signs_nothing_is_refused_and_not_shown(wrong: str) -> None:
    [line] = refused(webhook_secret=wrong)
    assert line.startswith("WEBHOOK_SECRET: must be")
    assert wrong not in line


def test_no_webhook_is_sent_unless_hosts_are_listed() -> None:
    assert loaded().webhook_hosts == ()
    assert loaded(webhook_hosts="").webhook_hosts == ()
    assert loaded(webhook_hosts="cms.example, 10.1.0.0/16").webhook_hosts == (
        "cms.example",
        "10.1.0.0/16",
    )
    [line] = refused(webhook_hosts="https://cms.example")
    assert "plain host names" in line


def test_callbacks_may_go_to_another_broker() -> None:
    assert loaded(callback_broker_url="").callback_broker_url is None
    for wrong in ("hunter2", "embedded"):
        [line] = refused(callback_broker_url=wrong)
        assert line.startswith("CALLBACK_BROKER_URL: must be")


def test_the_operators_page_takes_names_and_passwords_and_shows_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UPLYNK_USER_ID", OWNER)
    wrong = {
        "ann:hunter2": "has a password of less than 12 characters",
        f"ann:{SECRET},": "must be of the form name:password, separated by commas",
        f":{SECRET}": "must be of the form name:password, separated by commas",
        f"ann:{SECRET},ann:{SECRET}": "names somebody twice",
        f"ann:{SECRET}\u2100": "must be printable ASCII characters",
    }
    for users, said in wrong.items():
        monkeypatch.setenv("CONSOLE_USERS", users)
        with pytest.raises(SettingsError) as caught:
            load_console()
        assert f"CONSOLE_USERS: {said}" in str(caught.value)
        assert "hunter2" not in everything_of(caught.value)
    monkeypatch.setenv("CONSOLE_USERS", " ")
    with pytest.raises(SettingsError, match="without a login there is no operator's page"):
        load_console()
    monkeypatch.setenv("CONSOLE_USERS", f"ann:{SECRET}, bob:{SECRET}:{SECRET}\n")
    monkeypatch.setenv("CONSOLE_SECRET", "hunter2")
    with pytest.raises(SettingsError, match="CONSOLE_SECRET: "):
        load_console()
    monkeypatch.setenv("CONSOLE_SECRET", SECRET * 3)
    settings = load_console()
    assert settings.console_users is not None
    assert dict(named_users(settings.console_users)) == {
        "ann": SECRET,
        "bob": f"{SECRET}:{SECRET}",
    }
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump_json())
