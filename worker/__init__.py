"""What is done: a Celery worker that exports Uplynk assets as MP4 files.

`celery -A worker …` finds its application in `worker.celery`.
"""
