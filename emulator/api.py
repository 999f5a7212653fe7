"""What each call of the API does, once its signature is found good."""

from collections.abc import Callable, Mapping
from typing import Any

from emulator.parameters import Parameters
from emulator.refusal import Code, RefusedError
from emulator.world import World

Answer = dict[str, Any]
MOST_IDS = 1000
"""How many ids `asset/get` takes (Asset API documentation)."""
MOST_LISTED_ASSETS = 100
"""The largest limit of `asset/list` (Asset API documentation)."""


def perform(world: World, call: str, given: dict[str, Any], files_url: str) -> Answer:
    """Do a call and return its answer without `error`.

    Args:
        world: The account.
        call: The call's name, such as "jobs/get".
        given: Its parameters.
        files_url: Where this emulator is reached, for the URLs of files.

    Raises:
        RefusedError: There is no such call, or it did nothing.
    """
    if call not in CALLS:
        raise RefusedError(Code.CALL, f"Unknown call {call}")
    return CALLS[call](world, Parameters(given), files_url)


def named_assets(world: World, call: str, given: Mapping[str, Any]) -> set[str]:
    """Return the assets that a call names, by their own ids or by those of their jobs."""
    ids = [given.get(name) for name in ("asset", "id")]
    more = given.get("ids")
    ids += more if isinstance(more, list) else []
    texts = {each for each in ids if isinstance(each, str)}
    if not call.startswith("jobs/") or call == "jobs/create_export":
        return texts
    jobs = (world.jobs.known(each) for each in texts)
    return {job.asset for job in jobs if job is not None}


def listed_assets(world: World, given: Mapping[str, Any]) -> set[str]:
    """Return the assets whose jobs a `jobs/list` with these parameters shows."""
    try:
        return {job["asset"] for job in _listed_jobs(world, Parameters(dict(given)), "")}
    except RefusedError:
        return set()


def _create_export(world: World, parameters: Parameters, files_url: str) -> Answer:
    asset_id = parameters.identifier("asset")
    aaclc = parameters.whole("aaclc", default=0, low=0, high=1)
    parameters.finish()
    asset = world.catalogue.find(asset_id)
    if asset is None:
        raise RefusedError(Code.NOT_FOUND, f"Asset {asset_id} not found")
    job = world.new_job(asset_id, asset, aaclc=bool(aaclc))
    return {"job": world.described(job, files_url)}


def _get_job(world: World, parameters: Parameters, files_url: str) -> Answer:
    job_id = parameters.identifier("id")
    parameters.finish()
    job = world.jobs.get(job_id, world.clock.now())
    return {"job": world.described(job, files_url)}


def _list_jobs(world: World, parameters: Parameters, files_url: str) -> Answer:
    return {world.settings.list_member: _listed_jobs(world, parameters, files_url)}


def _listed_jobs(world: World, parameters: Parameters, files_url: str) -> list[Answer]:
    most = world.settings.list_max_limit
    refuse = world.settings.list_over_limit == "refuse"
    limit = parameters.whole("limit", min(25, most), low=1, high=most if refuse else None)
    skip = parameters.whole("skip", 0, low=0)
    parameters.finish()
    page = world.jobs.page(
        world.clock.now(),
        skip=skip,
        limit=min(limit, most),
        newest_first=world.settings.list_order == "newest",
        lag_seconds=world.settings.list_lag_seconds,
    )
    return [world.described(job, files_url) for job in page]


def _cancel_job(world: World, parameters: Parameters, files_url: str) -> Answer:
    job_id = parameters.identifier("id")
    parameters.finish()
    now = world.clock.now()
    job = world.jobs.get(job_id, now)
    world.jobs.cancel(job, now)
    return {"job": world.described(job, files_url)}


def _delete_jobs(world: World, parameters: Parameters, _: str) -> Answer:
    ids = parameters.identifiers("ids", MOST_IDS)
    parameters.finish()
    now = world.clock.now()
    return {"actions": [[job_id, world.jobs.delete(job_id, now)] for job_id in ids]}


def _get_assets(world: World, parameters: Parameters, _: str) -> Answer:
    if parameters.has("ids"):
        ids = parameters.identifiers("ids", MOST_IDS)
        parameters.finish()
        found = [_asset(world, each) for each in ids]
        return {"assets": [each for each in found if each is not None]}
    asset_id = parameters.identifier("id")
    parameters.finish()
    asset = _asset(world, asset_id)
    if asset is None:
        raise RefusedError(Code.NOT_FOUND, f"Asset {asset_id} not found")
    return {"asset": asset}


def _list_assets(world: World, parameters: Parameters, _: str) -> Answer:
    limit = parameters.whole("limit", 25, low=1, high=MOST_LISTED_ASSETS)
    skip = parameters.whole("skip", 0, low=0)
    for ignored in ("order", "query"):
        parameters.text(ignored, "")
    parameters.finish()
    page = world.catalogue.named()[skip : skip + limit]
    return {"assets": [_asset(world, asset_id) for asset_id in page]}


def _asset(world: World, asset_id: str) -> Answer | None:
    asset = world.catalogue.find(asset_id)
    if asset is None:
        return None
    return {
        "id": asset_id,
        "owner": world.settings.user_id,
        "external_id": "",
        "desc": f"Emulated asset {asset_id[:8]}",
        "state": "ready",
        "duration": float(asset.media_seconds),
        "created": 1_700_000_000_000,
        "require_drm": 0,
        "require_studio_drm": 0,
    }


CALLS: Mapping[str, Callable[[World, Parameters, str], Answer]] = {
    "jobs/create_export": _create_export,
    "jobs/get": _get_job,
    "jobs/list": _list_jobs,
    "jobs/cancel": _cancel_job,
    "jobs/delete": _delete_jobs,
    "asset/get": _get_assets,
    "asset/list": _list_assets,
}
