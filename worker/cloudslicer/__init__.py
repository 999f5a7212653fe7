"""Uplynk's Cloud Slicer: how a call is signed, what comes back, and every way it can end."""

from worker.cloudslicer.client import CloudSlicer
from worker.cloudslicer.job import Job, JobState

__all__ = ["CloudSlicer", "Job", "JobState"]
