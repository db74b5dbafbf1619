"""One request, from its credentials to its answer.

::

    send ──> attempt ──> authorized ──> follow ──> transport
      ^  temporary? wait  ^  401? get a token  ^  redirect? policy
      └──────────────────┘└────────────────────┘└─────────────────┘

Credentials are attached for the registry's own origin, per request. A 401 is answered only when it comes from that
origin; one from the target of a redirect changes nothing and is an error.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, Literal

from attrs import evolve, frozen

from ociworks.errors import LimitExceeded, RegistryError, RegistryResponseError
from ociworks.image.auth.bearer import TokenCall, basic_header, read_token, realm_of, token_call
from ociworks.image.auth.cache import TokenCache, TokenKey
from ociworks.image.auth.challenge import Challenge, parse_challenges
from ociworks.image.auth.credentials import Basic, Credential, Keychain, RegistryToken
from ociworks.image.auth.secret import Secret
from ociworks.image.origin import Origin
from ociworks.image.remote._answers import check_encoding, error_of
from ociworks.image.remote._messages import Body, Request, Response, Site, Transport, read_capped
from ociworks.image.remote._policy import REDIRECTS, TargetPolicy, next_hop

if TYPE_CHECKING:
    from ociworks.image.remote._notices import Notices
    from ociworks.image.remote.limits import Limits

__all__ = ["Repository", "Right", "Session", "WholeRegistry"]

_logger = logging.getLogger(__name__)

Right = Literal["pull", "push", "delete"]

_FORM: Final = ("Content-Type", "application/x-www-form-urlencoded")


@frozen
class Repository:
    """What a request is about, and so which credentials it may carry."""

    registry: str
    name: str
    origin: Origin
    root: str = "/v2"
    """The path of the API there."""
    namespace: str | None = None
    """What a mirror is told in the query ``ns``."""
    site: Site | None = None
    patient: bool = True
    """Whether to try again what fails for a temporary reason: not while another place can be asked instead."""

    def scope(self, right: Right) -> str:
        """The token scope that reading, writing or deleting needs; reading is always part of it."""
        return f"repository:{self.name}:{'pull' if right == 'pull' else f'pull,{right}'}"


@frozen
class WholeRegistry(Repository):
    """A registry itself, for a request that is about no repository."""

    def scope(self, right: Right) -> str:  # noqa: ARG002  # the repository's
        """None: a token that allows nothing shows that the credentials are good."""
        return ""


class Session:
    """Sends requests for a client; safe for several threads."""

    def __init__(
        self,
        transport: Transport,
        policy: TargetPolicy,
        limits: Limits,
        keychain: Callable[[], Keychain],
        sleep: Callable[[float], None],
        notices: Notices,
    ) -> None:
        self.policy = policy
        self.notices = notices
        self._transport = transport
        self._limits = limits
        self._keychain = keychain
        self._sleep = sleep
        self._tokens = TokenCache()
        self._challenges: dict[Origin, Challenge] = {}
        self._credentials: dict[tuple[str, str], Credential | None] = {}
        self._lock = threading.RLock()

    def send(
        self, request: Request, repository: Repository, expected: Collection[int], what: str
    ) -> Response:
        """The response, which has an expected status; the caller reads and closes it.

        Raises :class:`~ociworks.errors.RegistryError`; failures that may be temporary are tried again, POST not.
        """
        delay = self._limits.first_delay
        attempts = self._limits.attempts if repository.patient else 1
        for attempt in range(1, attempts + 1):
            try:
                return self._authorized(request, repository, expected, what)
            except RegistryError as error:
                last = attempt == attempts or request.method == "POST"
                if last or not error.temporary:
                    raise
                self.pause(error, delay)
                delay *= 2
        raise RegistryError(f"{what}: no attempt was allowed", url=request.url.redacted)

    def send_once(
        self, request: Request, repository: Repository, expected: Collection[int], what: str
    ) -> Response:
        """The same as :meth:`send` without further attempts, for what must be started anew as a whole."""
        return self._authorized(request, repository, expected, what)

    def pause(self, error: RegistryError, delay: float) -> None:
        """Wait before another attempt, as long as the registry asks for; ``error`` again if that is too long."""
        asked = error.retry_after if isinstance(error, RegistryResponseError) else None
        wanted = max(delay, asked or 0.0)
        if asked is not None and asked > self._limits.longest_delay:
            raise error
        _logger.info("trying again in %.1f s: %s", wanted, error)
        self._sleep(min(wanted, self._limits.longest_delay))

    def _authorized(
        self, request: Request, repository: Repository, expected: Collection[int], what: str
    ) -> Response:
        for asked in range(self._limits.challenges + 1):
            header = self._authorization(request, repository)
            ready = evolve(request, authorization=header, site=repository.site)
            response, moved = self._follow(ready, repository.origin)
            self.notices.hear(repository.registry, response.headers)
            if response.status in expected:
                check_encoding(response)
                return response
            challenges = response.headers.all("www-authenticate")
            error = error_of(response, what, self._limits.max_error_body)
            if response.status != 401 or moved or asked == self._limits.challenges:
                raise error
            if not self._prepare(challenges, request, repository, header):
                raise error
        raise RegistryError(f"{what}: no answer was allowed", url=request.url.redacted)

    def _follow(self, request: Request, registry: Origin) -> tuple[Response, bool]:
        """The response after at most ``limits.redirects`` hops, and whether any of them left the registry."""
        moved = request.url.origin != registry
        for _ in range(self._limits.redirects + 1):
            response = self._transport.send(request)
            if response.status not in REDIRECTS:
                return response, moved
            try:
                request = next_hop(request, response, registry, self.policy)
            finally:
                response.close()
            moved = moved or request.url.origin != registry
        raise LimitExceeded(f"redirects of {request.url.redacted}", "redirects", self._limits.redirects)

    # Credentials

    def _credential(self, repository: Repository) -> Credential | None:
        key = (repository.registry, repository.name)
        with self._lock:
            if key not in self._credentials:
                self._credentials[key] = self._keychain().find(*key)
            return self._credentials[key]

    def _authorization(self, request: Request, repository: Repository) -> Secret | None:
        """What to send at once, by what the registry has asked for before."""
        challenge = self._challenges.get(repository.origin)
        if challenge is None or request.url.origin != repository.origin:
            return None
        credential = self._credential(repository)
        if challenge.scheme == "basic":
            return basic_header(credential) if isinstance(credential, Basic) else None
        if isinstance(credential, RegistryToken):
            return Secret(f"Bearer {credential.token.reveal()}")
        return Secret(f"Bearer {self._token(request, repository, challenge, credential).reveal()}")

    def _prepare(
        self, headers: Collection[str], request: Request, repository: Repository, refused: Secret | None
    ) -> bool:
        """Get ready to answer a 401; False when there is nothing better to send than what was refused."""
        challenge = self._choose(parse_challenges(headers), repository.origin)
        if challenge is None:
            return False
        credential = self._credential(repository)
        if challenge.scheme == "basic" and (refused is not None or not isinstance(credential, Basic)):
            return False
        if isinstance(credential, RegistryToken) and refused is not None:
            return False
        with self._lock:
            self._challenges[repository.origin] = challenge
            if refused is not None and challenge.scheme == "bearer":
                key = self._key(request, repository, challenge, credential)
                self._tokens.drop(key, Secret(refused.reveal().removeprefix("Bearer ")))
        return True

    def _choose(self, challenges: tuple[Challenge, ...], origin: Origin) -> Challenge | None:
        """Bearer before Basic; never Basic over plain http once the registry has asked for tokens."""
        by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
        if "bearer" in by_scheme:
            return by_scheme["bearer"]
        known = self._challenges.get(origin)
        if origin.scheme == "http" and known is not None and known.scheme == "bearer":
            return None
        return by_scheme.get("basic")

    def _key(
        self, request: Request, repository: Repository, challenge: Challenge, credential: Credential | None
    ) -> TokenKey:
        scope = request.scope or repository.scope(_right(request))
        return TokenKey(repository.origin, challenge.get("service") or "", scope, credential)

    def _token(
        self, request: Request, repository: Repository, challenge: Challenge, credential: Credential | None
    ) -> Secret:
        key = self._key(request, repository, challenge, credential)
        with self._lock:  # held across the exchange: the layers of one image need one token, not four
            found = self._tokens.get(key)
            if found is None:
                found = self._fetch(key, challenge, repository)
            return found

    def _fetch(self, key: TokenKey, challenge: Challenge, repository: Repository) -> Secret:
        realm = realm_of(challenge)
        self.policy.check(realm, repository.origin, "token endpoint")
        requested = self._tokens.now()
        call = _as_request(token_call(realm, challenge, key.scope, key.credential))
        response, _ = self._follow(evolve(call, site=repository.site), repository.origin)
        if response.status != 200:
            raise error_of(response, "token endpoint", self._limits.max_error_body)
        check_encoding(response)
        token = read_token(read_capped(response, "max_token_body", self._limits.max_token_body))
        self._tokens.put(key, token, requested)
        return token.value


def _right(request: Request) -> Right:
    if request.method in {"GET", "HEAD"}:
        return "pull"
    return "delete" if request.method == "DELETE" else "push"


def _as_request(call: TokenCall) -> Request:
    if call.form is None:
        return Request(method="GET", url=call.url, authorization=call.authorization)
    content = call.form.reveal().encode()
    return Request(
        method="POST", url=call.url, headers=(_FORM,), body=Body(lambda: io.BytesIO(content), len(content))
    )
