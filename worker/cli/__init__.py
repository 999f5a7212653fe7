"""The command line: `uplynk-export`. Exit status 0 only when what was asked for was achieved."""

import logging
import os
import sys
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem
from kombu.exceptions import OperationalError
from sqlalchemy.exc import SQLAlchemyError

from worker import logs, printing
from worker.cli.status import Status
from worker.errors import ExportError, SettingsError, WorkerDied


class Listed(NamedTuple):
    """A command that is loaded once it is called: most need little of what the others do."""

    where: str  # module:name
    help: str  # the first sentence of the command's own


COMMANDS = {
    "batches": Listed(
        "worker.cli.batch:batches_", "Sum up what became of batches: all, or those that are named."
    ),
    "cancel": Listed(
        "worker.cli.change:cancel",
        "Withdraw requests, each by its id or its export's, or those of a whole batch.",
    ),
    "completion": Listed(
        "worker.cli.completion:completion",
        "Print what has SHELL complete commands, options, states, error codes and batches.",
    ),
    "console": Listed("worker.cli.page:console", "Serve the operator's page, until interrupted."),
    "demo": Listed(
        "worker.cli.alone:demo",
        "Show the main job end to end on this machine, against the emulator.",
    ),
    "doctor": Listed(
        "worker.cli.operate:doctor",
        "Examine settings, database, broker, storage and credentials; say what to do.",
    ),
    "drain": Listed(
        "worker.cli.window:drain",
        "Pause, and wait until all that Uplynk was asked for is in storage or has failed.",
    ),
    "emulator": Listed(
        "emulator.__main__:main", "Serve an emulated Cloud Slicer until interrupted."
    ),
    "list": Listed("worker.cli.look:list_", "List requests, the newest first."),
    "manifest": Listed(
        "worker.cli.batch:manifest",
        "Write what became of each request of BATCH: its file, hash and size, or its error.",
    ),
    "metrics": Listed(
        "worker.cli.metrics:metrics",
        "Serve what SQL knows of all workers' exports, for Prometheus, until interrupted.",
    ),
    "migrate": Listed(
        "worker.cli.operate:migrate", "Bring the database's tables up to this release."
    ),
    "notifications": Listed(
        "worker.cli.notifications:notifications",
        "List what CMSs were told, the newest first, or have it delivered again.",
    ),
    "pause": Listed("worker.cli.window:pause", "Ask Uplynk for nothing more, until `resume`."),
    "plan": Listed(
        "worker.cli.plan:plan",
        "Say what `request --from FILE` would do, and ask Uplynk about the assets.",
    ),
    "request": Listed(
        "worker.cli.request:request",
        "Request the export of ASSET, or of a whole list, as a CMS would.",
    ),
    "resume": Listed("worker.cli.window:resume", "Ask Uplynk again for what was paused."),
    "retry": Listed(
        "worker.cli.change:retry",
        "Take up again what failed or was cancelled, by ids, by a code or by a batch.",
    ),
    "run": Listed(
        "worker.cli.alone:run",
        "Export ASSETs into a folder, with everything embedded on this machine.",
    ),
    "show": Listed(
        "worker.cli.look:show", "Tell the story of a request, by its id or its export's."
    ),
    "verify": Listed(
        "worker.cli.operate:verify", "Read stored films again, and compare them with the record."
    ),
    "watch": Listed(
        "worker.cli.window:watch",
        "Show what is under way, at which rate, and for how long yet, until interrupted.",
    ),
    "worker": Listed("worker.cli.operate:worker", "Run a worker, and start it again if it dies."),
}


class Group(click.Group):
    """Loads a command when it is called, and tells the user what is the user's to mend.

    That is one line on standard error, and status 1.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's)
        """Return the names of the commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of this name, if there is one."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].where.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write what each command does, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in sorted(COMMANDS)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Offer the commands, without loading any."""
        offered = [
            CompletionItem(name, help=COMMANDS[name].help)
            for name in sorted(COMMANDS)
            if name.startswith(incomplete)
        ]
        return offered or click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  (click's)
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ExportError as error:  # some quote Uplynk
            raise click.ClickException(printing.plain(str(error))) from None
        except (SettingsError, WorkerDied) as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            raise click.exceptions.Exit(Status.INTERRUPTED) from None
        except BrokenPipeError:  # whoever read has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(Status.FAILED) from None
        except OSError as error:
            raise click.ClickException(str(error)) from None
        except OperationalError as error:
            raise click.ClickException(
                f"the broker can't be reached ({error}); check CELERY_BROKER_URL"
            ) from None
        except SQLAlchemyError as error:
            said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise click.ClickException(
                f"the database refused: {said}; `uplynk-export doctor` tells more"
            ) from None


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="uplynk-export")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Export Uplynk assets as MP4 files."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    logs.configure("auto", level=logging.WARNING)  # standard output is for what was asked for
