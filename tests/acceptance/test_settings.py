"""Settings that are wrong stop the start, with one message that names each of them."""

import pytest

from tests.acceptance.stage import Stage

WRONG = {
    "UPLYNK_USER_ID": "me",
    "UPLYNK_API_URL": "ftp://nowhere",
    "DATABASE_URL": "mysql://host/name",
    "POLL_RATIO": "7",
    "STORAGE_KEY": "../{asset}.mp4",
    "MAX_EXPORTING": "many",
}


@pytest.mark.parametrize("how", ["celery", "uplynk-export"])
def test_bad_settings_stop_the_start_with_one_message_that_names_each(
    stage: Stage, how: str
) -> None:
    stage.settings |= WRONG
    ended = stage.celery("worker") if how == "celery" else stage.cli("worker")
    assert ended.returncode != 0
    assert all(f"  {name}: " in ended.stderr for name in WRONG)
    assert "Traceback" not in ended.stderr
    assert "mysql" in ended.stderr
    assert "host/name" not in ended.stderr


def test_a_missing_key_is_named(stage: Stage) -> None:
    ended = stage.cli("worker", UPLYNK_API_KEY="")
    assert ended.returncode == 1
    assert "UPLYNK_API_KEY" in ended.stderr
