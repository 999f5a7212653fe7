"""Typed: a command in this very process, whose logging is then as it was."""

import logging

import structlog
from click.testing import CliRunner, Result

from worker.cli import main


def typed(*arguments: str, **environment: str) -> Result:
    """Run `uplynk-export …`; returns its exit status and what it said."""
    root, configuration = logging.getLogger(), structlog.get_config()
    handlers, level = list(root.handlers), root.level
    try:
        return CliRunner().invoke(main, arguments, env=environment)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**configuration)
