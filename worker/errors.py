"""The errors of the worker, split by what is to be done next.

    ExportError
    ├── Transient        nothing came of it; take the step again, later
    ├── OutcomeUnknown   it may have happened; find out, never just repeat
    └── Permanent        it will never work; end the export, with this code
    ClaimLost            somebody else took over; drop the outcome and leave
    Stopping             this worker is told to stop; give the claim back and leave
    Undelivered          a CMS was not told something; again later, unless that is final
    SettingsError        the environment is wrong; don't start
    InvalidRequest       what a CMS sent makes no sense; refuse it, keep the refusal
    WorkerDied           a worker of this process ended by itself; say so

Foreign exceptions (requests, obstore, PyAV) become these at the boundary where they are raised.
"""

from datetime import timedelta


class ExportError(Exception):
    """A step did not do what it is there for.

    Attributes:
        code: one word for programs, from the table in docs/errors.md.
        message: a sentence for a person; it never holds a key or a signature.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)  # all that was given, or it could not be unpickled
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Transient(ExportError):  # noqa: N818  (named for what to do next, as the tree above has it)
    """Nothing came of it, and later it may work.

    Attributes:
        retry_after: how long the other side asked us to wait, if it did.
        is_asked_too_much: whether the other side wants fewer calls.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: timedelta | None = None,
        is_asked_too_much: bool = False,
    ) -> None:
        super().__init__(code, message)
        self.retry_after = retry_after
        self.is_asked_too_much = is_asked_too_much


class OutcomeUnknown(Transient):
    """The other side may have done it, but the answer never came or can't be read.

    For a call that may be repeated without harm this is a Transient like any other.
    """


class Permanent(ExportError):  # noqa: N818  (same)
    """It will never work; the export ends with this code and this sentence."""


class ClaimLost(Exception):  # noqa: N818  (not a failure: the other one carries on)
    """Somebody else took the step over while this one was at it."""


class Stopping(Exception):  # noqa: N818  (not a failure: another worker carries on)
    """This worker is to stop; what it is at is left for another to go on with."""


class Undelivered(Exception):  # noqa: N818  (says what happened)
    """A notification did not reach its receiver, or nobody knows whether it did.

    Attributes:
        is_final: whether the receiver wants it never again.
        is_of_receiver: whether another notification would have fared no better: the receiver, or
            the broker, is not there, or asked to be left alone.
        retry_after: how long the receiver asked us to wait, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        is_final: bool = False,
        is_of_receiver: bool = False,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.is_final = is_final
        self.is_of_receiver = is_of_receiver
        self.retry_after = retry_after


class SettingsError(Exception):
    """Variables of the environment are missing or wrong; the message names each of them."""


class InvalidRequest(Exception):  # noqa: N818  (the term of the trade)
    """What a CMS sent is no request for an export; the message says what is wrong with it."""


class WorkerDied(Exception):  # noqa: N818  (says what happened)
    """The embedded worker ended by itself."""
