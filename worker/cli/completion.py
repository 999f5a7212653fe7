"""Completion: the command that teaches a shell to complete this command line."""

import click
from click.shell_completion import get_completion_class

from worker.cli.command import Command

PROGRAM = "uplynk-export"
VARIABLE = "_UPLYNK_EXPORT_COMPLETE"  # click's name for it


@click.command(
    cls=Command,
    examples=(
        'eval "$(uplynk-export completion bash)"   # in ~/.bashrc',
        'eval "$(uplynk-export completion zsh)"    # in ~/.zshrc, after compinit',
        "uplynk-export completion fish > ~/.config/fish/completions/uplynk-export.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what has SHELL complete commands, options, states, error codes and batches."""
    made = get_completion_class(shell)
    assert made is not None  # noqa: S101  (those of the choice are click's own)
    click.echo(made(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
