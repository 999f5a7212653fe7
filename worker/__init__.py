"""What is done: a Celery worker that exports Uplynk assets as MP4 files.

`celery -A worker …` finds its application in `worker.celery`.
"""

import os

# Flower shows every task to whoever reaches it, without a password unless it is given one. Nobody
# but this machine does unless it is told to listen elsewhere (`--address`, FLOWER_ADDRESS).
os.environ.setdefault("FLOWER_ADDRESS", "127.0.0.1")
# What a task did, or why not, is what its list is read for.
os.environ.setdefault("FLOWER_TASKS_COLUMNS", "name,uuid,state,received,result,exception")
