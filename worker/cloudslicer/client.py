"""The client: one method for each call that the worker makes, each attempt signed anew."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from ssl import SSLCertVerificationError
from typing import Any

import requests
from pydantic import SecretStr
from urllib3.exceptions import HTTPError, LocationParseError, NewConnectionError, SSLError

from worker.cloudslicer import reply
from worker.cloudslicer.job import Job, Malformed
from worker.cloudslicer.signing import sign
from worker.errors import OutcomeUnknown, Transient


class CloudSlicer:
    """Uplynk's Cloud Slicer of one account.

    No call is repeated here: whoever asked knows whether that is safe, and when.

    Args:
        url: where Uplynk's services are, without a path.
        owner: the account's user id.
        key: the account's API key.
        http: gives the requests session of the calling thread.
        now: gives the time.
        timeout_seconds: how long an answer may keep silent.
        connect_seconds: how long connecting may take.
    """

    def __init__(
        self,
        url: str,
        *,
        owner: str,
        key: SecretStr,
        http: Callable[[], requests.Session],
        now: Callable[[], datetime],
        timeout_seconds: float = 30.0,
        connect_seconds: float = 10.0,
    ) -> None:
        self.owner = owner
        self._url = url
        self._key = key
        self._http = http
        self._now = now
        self._timeout = (connect_seconds, timeout_seconds)

    def create_export(self, asset: str, *, aaclc: bool) -> Job:
        """Have an MP4 made of `asset`; each call that succeeds costs money.

        Raises:
            Transient: Uplynk surely never began; ask again later.
            OutcomeUnknown: it may have begun; look through `list_jobs` before asking again.
            Permanent: Uplynk refused.
        """
        # HE-AAC is what leaving `aaclc` out means; there is no value for it
        parameters: dict[str, object] = {"asset": asset, **({"aaclc": 1} if aaclc else {})}
        job = self._job("create_export", parameters, once=True)
        if job.asset not in {None, asset}:
            raise OutcomeUnknown(
                "uplynk_unreadable", "Uplynk answered create_export with a job of another asset"
            )
        return job

    def get_job(self, job_id: str) -> Job:
        """Return the job as it is now.

        Raises:
            Transient: no answer that can be read.
            Permanent: Uplynk refused; with the code `uplynk_not_found` it knows no such job.
        """
        return self._job("get", {"id": job_id})

    def list_jobs(self, *, limit: int, skip: int = 0) -> list[Job]:
        """Return recent jobs of the account, of all kinds, in the order that Uplynk gives them.

        Fewer than `limit` come back where Uplynk's own maximum is lower. Entries that are no job
        objects are left out, unless that leaves nothing of a page that held something.

        Raises:
            Transient: no answer that can be read.
            Permanent: Uplynk refused.
        """
        envelope = self._call("list", {"limit": limit, "skip": skip})
        entries = envelope.get("jobs")  # the member's name is presumed: look for the one list
        if entries is None:
            lists = [value for value in envelope.values() if isinstance(value, list)]
            entries = lists[0] if len(lists) == 1 else None
        if not isinstance(entries, list):
            raise Transient("uplynk_unreadable", "Uplynk answered jobs/list without a list")
        jobs = [job for job in map(_readable, entries) if job is not None]
        if entries and not jobs:  # it would look like the end of the list
            raise Transient("uplynk_unreadable", "Uplynk answered jobs/list with no job among them")
        return jobs

    def cancel_job(self, job_id: str) -> Job:
        """Stop the job within 10 s; what was processed is billed. A completed one is refused.

        Raises:
            Transient: no answer that can be read; asking again does no harm.
            Permanent: Uplynk refused, or knows no such job.
        """
        return self._job("cancel", {"id": job_id})

    def delete_jobs(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Take finished jobs off the list; returns, by id, "deleted" or why not.

        Raises:
            Transient: no answer that can be read; asking again does no harm.
            Permanent: Uplynk refused.
        """
        actions = self._call("delete", {"ids": list(job_ids)}).get("actions")
        if not isinstance(actions, list):
            raise Transient("uplynk_unreadable", "Uplynk answered jobs/delete without actions")
        return dict(filter(_is_pair_of_texts, actions))

    def _job(self, call: str, parameters: Mapping[str, object], *, once: bool = False) -> Job:
        envelope = self._call(call, parameters, once=once)
        try:
            job = Job.read(envelope.get("job"))
        except Malformed as error:
            unsure = OutcomeUnknown if once else Transient
            raise unsure(
                "uplynk_unreadable", f"Uplynk answered jobs/{call}, but {error}"
            ) from error
        if job.id != parameters.get("id", job.id):
            raise Transient("uplynk_unreadable", f"Uplynk answered jobs/{call} with another job")
        return job

    def _call(
        self, call: str, parameters: Mapping[str, object], *, once: bool = False
    ) -> Mapping[str, Any]:
        name = f"jobs/{call}"
        now = self._now()
        fields = sign(parameters, owner=self.owner, key=self._key.get_secret_value(), now=now)
        try:
            response = self._http().post(
                f"{self._url}/api2/cloudslicer/{name}",
                data=fields,
                timeout=self._timeout,
                allow_redirects=False,
                hooks={"response": _forget_location},
            )
        except (requests.RequestException, HTTPError) as error:  # urllib3's own get through too
            # `from None`: the chain's texts may hold the request with its signature
            if _was_never_made(error):
                raise reply.unmade(name, error) from None
            raise reply.broken(name, error, once=once) from None
        return reply.read(response, call=name, once=once, now=now)


def _was_never_made(error: Exception) -> bool:
    """Return whether the connection failed before a request could be sent over it.

    That is: no address, a name that can't be one, refused, no answer to connecting, or a
    certificate that is not trusted. Any other failure of TLS may come from the middle of an answer.
    """
    if isinstance(error, requests.ConnectTimeout | LocationParseError):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, NewConnectionError):
        return True
    cause = reason.args[0] if isinstance(reason, SSLError) and reason.args else None
    return isinstance(cause, SSLCertVerificationError)


def _forget_location(response: requests.Response, *_: object, **__: object) -> None:
    """Keep requests from reading where a redirect leads: it raises where that is no URL."""
    response.headers.pop("Location", None)


def _is_pair_of_texts(entry: object) -> bool:
    return isinstance(entry, list) and [type(part) for part in entry] == [str, str]


def _readable(entry: object) -> Job | None:
    try:
        return Job.read(entry)
    except Malformed:
        return None
