"""Fixtures of the unit tests: the application as a worker would have it."""

from pathlib import Path

import pytest
from celery import Celery

from tests.factories import ACCOUNT, KEY, make_settings
from worker.settings import Settings

# A worker's application reads the environment when it is imported, as `celery -A worker` has it.
with pytest.MonkeyPatch.context() as environment:
    environment.setenv("UPLYNK_USER_ID", ACCOUNT)
    environment.setenv("UPLYNK_API_KEY", KEY)
    environment.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    from worker import celery


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings that lean on no environment."""
    return make_settings(tmp_path, celery_broker_url="redis://127.0.0.1:1/0")


@pytest.fixture
def app() -> Celery:
    """Give the application, with its tasks."""
    celery.app.loader.import_default_modules()
    return celery.app
