"""The registry without its connections: from a request to its response."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from attrs import evolve, frozen

from ociworks.testing._registry import blobs, listings, manifests, uploads
from ociworks.testing._registry.limits import RegistryLimits
from ociworks.testing._registry.messages import Bytes, Request, Response, read_all
from ociworks.testing._registry.refused import Refused
from ociworks.testing._registry.routes import checked_name, route_of
from ociworks.testing._registry.wire import Disconnected, Malformed

if TYPE_CHECKING:
    from ociworks.testing._registry.access import Access
    from ociworks.testing._registry.routes import Route
    from ociworks.testing._registry.store import Store

__all__ = ["Site", "SiteOptions", "refusal"]

_log = logging.getLogger(__name__)
_FORM: Final = 64 * 1024

Handler = Callable[["Site", Request], Response]


@frozen(kw_only=True)
class SiteOptions:
    """What a registry allows."""

    limits: RegistryLimits
    read_only: bool = False
    delete: bool = True
    check_references: bool = True
    redirect_blobs_to: str | None = None


class Site:
    """A store, who may use it, and how."""

    def __init__(self, store: Store, access: Access, options: SiteOptions) -> None:
        self.store = store
        self.access = access
        self.options = options

    def answer(self, request: Request) -> Response:
        """The response to a request. Raises only what ends the connection."""
        try:
            return self._answer(request)
        except Refused as refused:
            return refusal(refused)
        except (Disconnected, Malformed):
            raise
        except Exception:  # noqa: BLE001 - the boundary of a request: the next one must find a server
            _log.exception("%s failed", request.method)
            return Response(
                status=500, headers={"Content-Type": "text/plain"}, content=Bytes(b"storage failed\n")
            )

    def _answer(self, request: Request) -> Response:
        route, parts = route_of(request.path)
        request = evolve(request, parts=parts)
        if route.kind == "token":
            return self._token(request)
        self._authorize(request, route)
        if "name" in parts:
            checked_name(request.name)
        self._permit(request, route)
        return _HANDLERS[route.kind](self, request)

    def _authorize(self, request: Request, route: Route) -> None:
        name = request.parts.get("name")
        if route.kind == "catalog":
            name = None
        if not self.access.allows(request.header("authorization"), name, write=request.changes):
            challenge = self.access.challenge(name, write=request.changes)
            raise Refused("UNAUTHORIZED", headers={"WWW-Authenticate": challenge})

    def _permit(self, request: Request, route: Route) -> None:
        """Refuse what the route does not know or the options do not allow."""
        if request.method not in route.methods:
            raise Refused("UNSUPPORTED", "no such method here", headers={"Allow": ", ".join(route.methods)})
        if request.changes and self.options.read_only:
            raise Refused("UNSUPPORTED", "this registry is read-only")
        if request.method == "DELETE" and not self.options.delete and route.kind != "upload":
            raise Refused("UNSUPPORTED", "this registry deletes nothing")

    def _token(self, request: Request) -> Response:
        query = dict(request.query)
        if request.method == "POST":
            form = read_all(request.body, _FORM, "SIZE_INVALID").decode("utf-8", "replace")
            try:
                query |= {name: tuple(values) for name, values in parse_qs(form, max_num_fields=50).items()}
            except ValueError:
                raise Refused("UNSUPPORTED", "not a form", status=400) from None
        scopes = " ".join(query.get("scope", ())).split()
        first = {name: values[0] for name, values in query.items()}
        token = self.access.issue(request.header("authorization"), scopes, first)
        if token is None:
            raise Refused("UNAUTHORIZED", headers={"WWW-Authenticate": 'Basic realm="ociworks"'})
        return _json({"token": token, "access_token": token, "expires_in": self.access.lifetime})


def _api(_site: Site, _request: Request) -> Response:
    return _json({})


def _json(value: Mapping[str, object]) -> Response:
    return Response(
        status=200, headers={"Content-Type": "application/json"}, content=Bytes(json.dumps(value).encode())
    )


def refusal(refused: Refused) -> Response:
    """The response for a refusal: the specification's error body."""
    body = {"errors": [{"code": refused.code, "message": refused.detail}]}
    headers = {"Content-Type": "application/json", **refused.headers}
    return Response(status=refused.status, headers=headers, content=Bytes(json.dumps(body).encode()))


_HANDLERS: Final[Mapping[str, Handler]] = {
    "api": _api,
    "catalog": listings.catalog,
    "uploads": uploads.start,
    "upload": uploads.upload,
    "blob": blobs.blob,
    "manifest": manifests.manifest,
    "tags": listings.tags,
    "referrers": listings.referrers,
}
