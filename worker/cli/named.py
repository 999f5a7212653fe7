"""Named: the batch that a command is about."""

import click
from sqlalchemy.orm import Session

from models import Batch


def known(session: Session, name: str) -> Batch:
    """Return the batch of this name.

    Raises:
        click.ClickException: there is none.
    """
    batch = session.get(Batch, name)
    if batch is None:
        raise click.ClickException(f"there is no batch {name}; `uplynk-export batches` lists them")
    return batch
