"""The captions that the emulator makes: a small, well-formed TTML document."""

from xml.sax.saxutils import escape

CUE_SECONDS = 2.0
MOST_CUES = 500


def ttml(asset_id: str, media_seconds: float) -> str:
    """Return captions whose cues name the asset and cover the media from start to end.

    Args:
        asset_id: The asset, named in every cue.
        media_seconds: The media's duration in seconds.
    """
    step = max(CUE_SECONDS, media_seconds / MOST_CUES)
    cues: list[str] = []
    start = 0.0
    while start < media_seconds:
        end = min(start + step, media_seconds)
        text = escape(f"Cue {len(cues) + 1} of asset {asset_id}")
        cues.append(f'      <p begin="{_time(start)}" end="{_time(end)}">{text}</p>')
        start += step
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            '<tt xmlns="http://www.w3.org/ns/ttml" xml:lang="en">',
            "  <body>",
            "    <div>",
            *cues,
            "    </div>",
            "  </body>",
            "</tt>",
            "",
        ]
    )


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"
