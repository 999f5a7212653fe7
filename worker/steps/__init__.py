"""The steps: what is done to a row that is due. They know SQL, Uplynk and files, but no Celery."""

from worker.steps.cancel import cancel
from worker.steps.captions import captions
from worker.steps.clean import clean
from worker.steps.create import create
from worker.steps.download import download
from worker.steps.downloads import downloads
from worker.steps.kit import Kit
from worker.steps.notify import notify
from worker.steps.poll import poll
from worker.steps.report import Report, Step, Wake
from worker.steps.retry import retry, retry_failed
from worker.steps.status import status
from worker.steps.submit import submit
from worker.steps.sweep import sweep

__all__ = [
    "Kit",
    "Report",
    "Step",
    "Wake",
    "cancel",
    "captions",
    "clean",
    "create",
    "download",
    "downloads",
    "notify",
    "poll",
    "retry",
    "retry_failed",
    "status",
    "submit",
    "sweep",
]
