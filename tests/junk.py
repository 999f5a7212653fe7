"""Junk: what somebody may put into a queue on Redis by hand, and Celery never would."""

# That lacks what every message of kombu's has.
NO_MESSAGES = (
    *(b"junk", b"\xff", b"[]", b"{}", b"[" * 100_000),
    *(b'{"properties": 1}', b'{"properties": {}}', b'{"body": null, "properties": {}}'),
    b'{"__type__": "decimal", "__value__": "x"}',
    b'{"body": "x", "properties": {"delivery_info": {}, "body_encoding": "base64"}}',
)

# That has it, and makes no sense all the same.
NO_SENSE = (
    b'{"body": "", "properties": {"delivery_info": {}}}',
    b'{"body": "", "headers": null, "properties": {"delivery_info": {}}}',
    b'{"body": "", "headers": [], "properties": {"delivery_info": {}, "delivery_tag": 7}}',
    b'{"body": "x", "headers": {"task": "a", "id": 1}, "properties": {"delivery_info": {}}}',
    b'{"body": "", "properties": {"delivery_info": {"exchange": null}, "priority": "high"}}',
)
