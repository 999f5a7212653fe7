"""The client: one method for each call that the worker makes, each attempt signed anew."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import requests
from pydantic import SecretStr
from urllib3 import Timeout

from worker.cloudslicer import reply, wire
from worker.cloudslicer.asset import Asset
from worker.cloudslicer.job import Job, Malformed
from worker.cloudslicer.reply import Reply
from worker.cloudslicer.signing import sign
from worker.cloudslicer.skew import SLACK, Exchange, Skew
from worker.errors import OutcomeUnknown, Transient

# The calls that are made, by their names below /api2/ (those of jobs are in its room cloudslicer).
CALLS = (
    "jobs/create_export",
    "jobs/get",
    "jobs/list",
    "jobs/cancel",
    "jobs/delete",
    "asset/get",
)


class CloudSlicer:
    """Uplynk's Cloud Slicer of one account.

    No call is repeated here: whoever asked knows whether that is safe, and when. There is one
    exception: where Uplynk refused the signature, and its clock shows another time than that which
    was signed, the call is signed by its clock and sent once more.

    Args:
        url: where Uplynk's services are, without a path.
        owner: the account's user id.
        key: the account's API key.
        http: gives the requests session of the calling thread.
        now: gives this machine's time, which calls are signed by.
        recorded: gives the time by the clock of what is on record, which jobs' times are told by;
            without it that is `now`.
        timeout_seconds: how long an answer may take, to its last byte.
        connect_seconds: how long connecting may take. A call takes no longer than the two together.

    Attributes:
        told: is told of each attempt, when it has ended: the call's name, how it ended (one of
            `reply.OUTCOMES`), and how many seconds it took. Set it to hear of them.
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
        recorded: Callable[[], datetime] | None = None,
    ) -> None:
        self.owner = owner
        self._url = url
        self._key = key
        self._http = http
        self._now, self._recorded = now, recorded or now
        self._connect_seconds, self._timeout_seconds = connect_seconds, timeout_seconds
        self._skew = Skew()
        self.told: Callable[[str, str, float], None] = lambda _call, _outcome, _seconds: None

    @property
    def skew(self) -> timedelta | None:
        """How far Uplynk's clock is ahead of ours (behind: negative); None before any reply."""
        return self._skew.measured

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
        envelope = self._call("jobs/list", {"limit": limit, "skip": skip})
        entries = envelope.get("jobs")  # the member's name is presumed: look for the one list
        if entries is None:
            lists = [value for value in envelope.values() if isinstance(value, list)]
            entries = lists[0] if len(lists) == 1 else None
        if not isinstance(entries, list):
            raise Transient("uplynk_unreadable", "Uplynk answered jobs/list without a list")
        jobs = [job for job in map(self._readable, entries) if job is not None]
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
        actions = self._call("jobs/delete", {"ids": list(job_ids)}).get("actions")
        if not isinstance(actions, list):
            raise Transient("uplynk_unreadable", "Uplynk answered jobs/delete without actions")
        return dict(filter(_is_pair_of_texts, actions))

    def get_asset(self, asset_id: str) -> Asset:
        """Return what Uplynk says of the asset.

        Raises:
            Transient: no answer that can be read.
            Permanent: Uplynk refused.
        """
        asset = Asset.find(self._call("asset/get", {"id": asset_id}), asset_id)
        if asset is None:
            raise Transient("uplynk_unreadable", "Uplynk answered asset/get without that asset")
        return asset

    def get_assets(self, asset_ids: Sequence[str]) -> dict[str, Asset]:
        """Return, by id, what Uplynk says of up to 1,000 assets; what it has not is left out.

        Raises:
            Transient: no answer that can be read.
            Permanent: Uplynk refused, for one of them perhaps.
        """
        assets = Asset.find_all(self._call("asset/get", {"ids": list(asset_ids)}))
        if assets is None:
            raise Transient("uplynk_unreadable", "Uplynk answered asset/get without assets")
        return assets

    def _job(self, call: str, parameters: Mapping[str, object], *, once: bool = False) -> Job:
        envelope = self._call(f"jobs/{call}", parameters, once=once)
        try:
            job = Job.read(envelope.get("job"), ahead=self._ahead())
        except Malformed as error:
            unsure = OutcomeUnknown if once else Transient
            raise unsure(
                "uplynk_unreadable", f"Uplynk answered jobs/{call}, but {error}"
            ) from error
        if job.id != parameters.get("id", job.id):
            raise Transient("uplynk_unreadable", f"Uplynk answered jobs/{call} with another job")
        return job

    def _call(
        self, name: str, parameters: Mapping[str, object], *, once: bool = False
    ) -> Mapping[str, Any]:
        left = self._connect_seconds + self._timeout_seconds
        begun, used = time.monotonic(), self._skew.correction
        signed_at = self._now() + used
        answered = self._sent(name, parameters, signed_at, left=left, once=once)
        left -= time.monotonic() - begun
        correction = self._skew.measured or timedelta()
        again_at = self._now() + correction
        if (
            answered.refuses_the_signature
            and abs(correction - used) > SLACK
            and int(again_at.timestamp()) != int(signed_at.timestamp())  # no `msg` goes out twice
            and left >= self._timeout_seconds  # else what is surely a refusal might become unsure
        ):
            answered = self._sent(name, parameters, again_at, left=left, once=once)
            if answered.lets_in:
                self._skew.correct(correction)
        return reply.read(answered, call=name, once=once, now=self._now())

    def _sent(
        self,
        name: str,
        parameters: Mapping[str, object],
        signed_at: datetime,
        *,
        left: float,
        once: bool,
    ) -> Reply:
        """Make one attempt, of `left` seconds at the most; learn from its answer what time it is.

        Raises:
            Transient, OutcomeUnknown: nothing came back.
        """
        key = self._key.get_secret_value()
        fields = sign(parameters, owner=self.owner, key=key, now=signed_at)
        sent_at, begun = self._now(), time.monotonic()
        try:
            answer = wire.post(
                self._http(),
                f"{self._url}/api2/{_room(name)}{name}",
                fields,
                timeout=Timeout(
                    total=left, connect=self._connect_seconds, read=self._timeout_seconds
                ),
            )
        except wire.FAILURES as error:
            is_unmade = wire.was_never_made(error)
            why = reply.unmade(name, error) if is_unmade else reply.broken(name, error, once=once)
            self.told(name, why.code, time.monotonic() - begun)
            # the chain's texts may hold the request with its signature
            raise why from None
        answered = reply.parse(answer, hide=[key, *fields.values()])
        self.told(name, reply.outcome(answered), time.monotonic() - begun)
        if answered.envelope is not None:  # the clock of a proxy is of no use
            self._skew.measure(answer.headers, Exchange(sent_at, self._now()))
        return answered

    def _ahead(self) -> timedelta | None:
        """Return how far Uplynk's clock is ahead of that of what is on record, if it is known."""
        skew = self.skew
        if skew is None:
            return None
        ahead = skew - (self._recorded() - self._now())
        return ahead if abs(ahead) > SLACK else timedelta()

    def _readable(self, entry: object) -> Job | None:
        try:
            return Job.read(entry, ahead=self._ahead())
        except Malformed:
            return None


def _room(name: str) -> str:
    return "cloudslicer/" if name.startswith("jobs/") else ""


def _is_pair_of_texts(entry: object) -> bool:
    return isinstance(entry, list) and [type(part) for part in entry] == [str, str]
