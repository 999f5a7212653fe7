"""The storm's database: what it says of the workers' sessions."""

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.chaos.database import WORKERS, sessions
from tests.waiting import wait_until

ME = "of-a-test"


@pytest.mark.services
def test_a_session_is_idle_in_transaction_once_it_has_stood_so_for_a_while(
    database_url: str,
) -> None:
    url = make_url(database_url).set(drivername="postgresql")
    url = url.update_query_dict({"application_name": WORKERS + ME})
    told = url.render_as_string(hide_password=False)
    with psycopg.connect(told) as standing, psycopg.connect(told, autocommit=True) as looking:

        def states() -> set[str]:
            return {state for name, state in sessions(looking) if name == ME}

        assert states() == {"active", "idle"}
        standing.execute("SELECT 1")
        assert states() == {"active"}
        wait_until(lambda: states() == {"active", "idle in transaction"}, what="a word of it")
