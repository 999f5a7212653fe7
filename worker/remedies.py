"""Remedies: what each code of an error means, and what a person does about it.

docs/errors.md is made of this, and the operator's page shows it beside the error. The texts are
Markdown, of which nothing is used but `code` and *stress*.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Remedy:
    """What is known of a code.

    Attributes:
        happened: what went wrong.
        to_do: what to do about it.
        is_retried: whether it fails the export only after it has come for long, without a break.
    """

    happened: str
    to_do: str
    is_retried: bool = False


_TABLE = {
    "invalid_request": Remedy(
        "the message made no sense; there is a failed request and no export",
        "mend the sender; the sentence names each wrong argument",
    ),
    "uplynk_refused": Remedy(
        "Uplynk refused the call; its reason is in the sentence. In a look at a job: *retried*",
        "as the reason says",
    ),
    "uplynk_not_found": Remedy(
        "Uplynk knows no such asset",
        "check the id and the account",
    ),
    "uplynk_credentials": Remedy(
        "Uplynk accepts neither user id and key nor, corrected by its own, the clock",
        "`uplynk-export doctor`; mend the settings or the clock, and restart the workers",
        is_retried=True,
    ),
    "uplynk_busy": Remedy(
        "HTTP 429; fewer calls are made for a while",
        "lower `UPLYNK_CALLS_PER_SECOND`",
        is_retried=True,
    ),
    "uplynk_unreachable": Remedy(
        "no connection could be made",
        "check the network",
        is_retried=True,
    ),
    "uplynk_unavailable": Remedy(
        "no answer, a broken one, or a 5xx",
        "wait; ask Uplynk",
        is_retried=True,
    ),
    "uplynk_unreadable": Remedy(
        "an answer that is no reply of the API's",
        "check `UPLYNK_API_URL`",
        is_retried=True,
    ),
    "outcome_unknown": Remedy(
        "Uplynk may have the job, and its list can't be read or doesn't tell",
        "look in Uplynk for a job of the asset before requesting it again: it may be paid for",
        is_retried=True,
    ),
    "job_taken": Remedy(
        "Uplynk answered with a job that another export has",
        "look at that export",
    ),
    "job_not_found": Remedy(
        "Uplynk does not know the job, which is too young to have been erased",
        "somebody deleted it; `uplynk-export retry` pays for another",
        is_retried=True,
    ),
    "job_lost": Remedy(
        "Uplynk knows the job no more; it erases them 72 hours after they end; or it was asked "
        "so long ago, without an answer, that it may have. Another export takes its place by "
        "itself, `REEXPORTS_OF_LOST_JOBS` times",
        "have more workers for downloads; `uplynk-export retry`",
    ),
    "export_error": Remedy(
        "Uplynk tried and could not; its `last_error` is in the sentence",
        "as it says; mend the asset",
    ),
    "export_deadline": Remedy(
        "the job was not finished within `EXPORT_DEADLINE_HOURS`, and was stopped",
        "look at the asset in Uplynk; `uplynk-export retry` pays for another job",
    ),
    "total_deadline": Remedy(
        "it was still failing when `TOTAL_DEADLINE_HOURS` were over; the last error is in the "
        "sentence",
        "as that error says",
    ),
    "cancelled": Remedy(
        "no request wanted it any more (the export is `cancelled`)",
        "nothing",
    ),
    "cancelled_at_uplynk": Remedy(
        "the job was cancelled, and not from here (the export is `cancelled`)",
        "`uplynk-export retry` pays for another job",
    ),
    "url_missing": Remedy(
        "the job is done, and its URL is not given",
        "ask Uplynk",
        is_retried=True,
    ),
    "file_url_refused": Remedy(
        "the file's URL is none that anything may be fetched from",
        "ask Uplynk",
    ),
    "file_host_unlisted": Remedy(
        "the file is on a host that is not listed, or its host is at a private address that is "
        "in no listed network",
        "add the host or the network to `DOWNLOAD_HOSTS` if it is yours or Uplynk's, and "
        "restart the workers",
        is_retried=True,
    ),
    "file_too_large": Remedy(
        "the file has more than `MAX_FILE_BYTES`",
        "raise it, restart the workers, and `uplynk-export retry`",
    ),
    "file_unreachable": Remedy(
        "no answer from the file's host",
        "check the network",
        is_retried=True,
    ),
    "file_unavailable": Remedy(
        "the file's URL answers with an error",
        "ask Uplynk",
        is_retried=True,
    ),
    "file_broken_off": Remedy(
        "the download broke off, or had another length than declared",
        "check the network",
        is_retried=True,
    ),
    "download_deadline": Remedy(
        "an attempt at the download lasted for `DOWNLOAD_DEADLINE_HOURS`; the next goes on at "
        "its byte",
        "check the network",
        is_retried=True,
    ),
    "file_not_whole": Remedy(
        "what came is no whole MP4; the sentence says what is wrong with it",
        "ask Uplynk",
        is_retried=True,
    ),
    "file_stalled": Remedy(
        "a connection brought less than `DOWNLOAD_MIN_BYTES_PER_SECOND` for a minute",
        "check the network; lower it for a poor line",
        is_retried=True,
    ),
    "audio_mismatch": Remedy(
        "the film's sound is not of the AAC profile that was asked for, and `AUDIO_MISMATCH` is "
        "`fail`",
        "ask Uplynk; or set it to `warn`, restart the workers, and `uplynk-export retry`",
    ),
    "duration_mismatch": Remedy(
        "the film is shorter than Uplynk says its asset is, by more than "
        "`DURATION_TOLERANCE_SECONDS` or a thousandth, whichever is more, and "
        "`DURATION_MISMATCH` is `fail`",
        "look at the asset at Uplynk; or set it to `warn`, restart the workers, and "
        "`uplynk-export retry`",
    ),
    "scratch_full": Remedy(
        "`SCRATCH_DIR` has no room for the file, or for what must stay free",
        "make room there",
        is_retried=True,
    ),
    "scratch_unwritable": Remedy(
        "`SCRATCH_DIR` can't be written to",
        "free or mend it",
        is_retried=True,
    ),
    "scratch_unreadable": Remedy(
        "what was written to `SCRATCH_DIR` can't be read back",
        "check its disk",
        is_retried=True,
    ),
    "step_died": Remedy(
        "each worker that downloaded the file died at it, for twice `RETRY_DEADLINE_HOURS` and "
        "ten times at the least",
        "look at the workers' memory and their logs",
    ),
    "unforeseen": Remedy(
        "the worker met what it did not foresee; its log has a traceback",
        "report it: a bug of ours",
        is_retried=True,
    ),
    "storage_unavailable": Remedy(
        "the storage did not take the file",
        "mend it; `uplynk-export doctor`",
        is_retried=True,
    ),
}

REMEDIES: Mapping[str, Remedy] = MappingProxyType(_TABLE)
