"""Command: a click command whose help ends with examples, and that can be completed."""

from collections.abc import Sequence
from typing import Any

import click


class Command(click.Command):
    """A command with examples, each a line as somebody would type it.

    Attributes:
        examples: the lines.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:  # noqa: ANN401  (click's)
        super().__init__(*args, **options)
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are, on lines of their own."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            formatter.write_paragraph()
            formatter.write("Examples:\n")
            for line in self.examples:
                formatter.write(f"  {line}\n")
