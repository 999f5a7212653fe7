"""Status: the view in which a CMS reads what has become of its requests.

Its columns are a contract: it is there so that the tables can change and nobody's query breaks.
It is no part of any migration: each takes it away first and makes this release's afterwards (see
migrations/env.py), or a table that it reads could not be changed.
"""

from sqlalchemy import DDL, event

from models.base import Base

NAME = "request_status"
VIEW = """
CREATE VIEW request_status AS
SELECT
    requests.id AS request_id,
    requests.export_id,
    requests.asset,
    requests.audio,
    CASE
        WHEN requests.cancelled_at IS NOT NULL THEN 'cancelled'
        WHEN requests.export_id IS NULL THEN 'failed'
        ELSE exports.state
    END AS state,
    CASE
        WHEN requests.cancelled_at IS NOT NULL THEN requests.cancelled_at
        WHEN requests.export_id IS NULL THEN requests.created_at
        ELSE exports.state_since
    END AS state_since,
    requests.created_at,
    requests.requester,
    requests.batch,
    requests.priority,
    CASE WHEN requests.cancelled_at IS NULL THEN exports.storage_url END AS storage_url,
    CASE WHEN requests.cancelled_at IS NULL THEN exports.size_bytes END AS size_bytes,
    CASE WHEN requests.cancelled_at IS NULL THEN exports.sha256 END AS sha256,
    CASE WHEN requests.cancelled_at IS NULL THEN exports.duration_seconds END AS duration_seconds,
    CASE WHEN requests.cancelled_at IS NULL THEN exports.captions_url END AS captions_url,
    CASE
        WHEN requests.export_id IS NULL OR requests.cancelled_at IS NOT NULL
        THEN requests.error_code ELSE exports.error_code
    END AS error_code,
    CASE
        WHEN requests.export_id IS NULL OR requests.cancelled_at IS NOT NULL
        THEN requests.error_message ELSE exports.error_message
    END AS error_message,
    requests.metadata
FROM requests LEFT JOIN exports ON exports.id = requests.export_id
"""

event.listen(Base.metadata, "after_create", DDL(VIEW))  # type: ignore[no-untyped-call]
