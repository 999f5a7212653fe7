"""What is remembered: requests, exports, their history, and what is to be told to whom."""

from models import status
from models.base import Base
from models.batch import Batch
from models.breaker import Breaker
from models.cleaning import Cleaning
from models.export import Export
from models.history import History
from models.notification import Notification
from models.pause import Pause
from models.request import Request
from models.state import Audio, Captions, Channel, State, StopCause
from models.survey import Survey
from models.turn import Turn

__all__ = [
    "Audio",
    "Base",
    "Batch",
    "Breaker",
    "Captions",
    "Channel",
    "Cleaning",
    "Export",
    "History",
    "Notification",
    "Pause",
    "Request",
    "State",
    "StopCause",
    "Survey",
    "Turn",
    "status",
]
