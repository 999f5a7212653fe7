"""The emulator's own command line: `python -m emulator`."""

import json
from pathlib import Path
from typing import IO, Any

import click

from emulator.server import serve
from emulator.settings import EmulatorSettings

DEFAULTS = EmulatorSettings()


EXAMPLES = """\b
Examples:
  uplynk-export emulator
  uplynk-export emulator --port 0 --speed 60 --captions all
"""


@click.command(
    context_settings={"show_default": True, "auto_envvar_prefix": "EMULATOR"}, epilog=EXAMPLES
)
@click.option("--host", default=DEFAULTS.host, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8900, help="0: any free port.")
@click.option("--user-id", default=DEFAULTS.user_id, help="The account's user id.")
@click.option("--api-key", default=DEFAULTS.api_key, help="The account's API key.")
@click.option("--speed", type=float, default=DEFAULTS.speed, help="Emulator seconds per second.")
@click.option("--wait-seconds", type=float, default=DEFAULTS.wait_seconds)
@click.option("--run-seconds", type=float, default=DEFAULTS.run_seconds)
@click.option("--media-seconds", type=float, default=DEFAULTS.media_seconds)
@click.option("--media-size-bytes", type=int, default=None, help="Pad each file to this size.")
@click.option("--captions", type=click.Choice(["some", "all", "none"]), default=DEFAULTS.captions)
@click.option("--missing", multiple=True, help="An asset id that does not exist; may be repeated.")
@click.option("--media-dir", type=click.Path(path_type=Path), help="Keep the made files here.")
@click.option("--list-max-limit", type=int, default=DEFAULTS.list_max_limit)
@click.option("--error-status", type=int, default=DEFAULTS.error_status)
@click.option("--clock-skew-seconds", type=float, default=DEFAULTS.clock_skew_seconds)
@click.option("--calls-per-second", type=float, default=None, help="Answer 429 above this.")
@click.option("--seed", type=int, default=DEFAULTS.seed, help="For faults with a probability.")
@click.option("--faults", type=click.File(), help="A JSON list of faults that are there at once.")
def main(
    *,
    missing: tuple[str, ...],
    faults: IO[str] | None,
    **options: Any,  # noqa: ANN401 - as declared above
) -> None:
    """Serve an emulated Cloud Slicer until interrupted."""
    try:
        rules = tuple(json.load(faults)) if faults else ()
        serve(EmulatorSettings(missing=frozenset(missing), faults=rules, **options))
    except ValueError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
