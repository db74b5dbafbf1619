"""Registries: a client of the whole distribution specification 1.1.

::

    with remote.Client() as registry:
        img = registry.image("registry.example/app:1.4", platform="linux/arm64")    # manifest and config only
        registry.push(img, "registry.example/copy:1.4")                             # layers mounted, not sent
        for tag in registry.tags("registry.example/app"): ...
        for entry in registry.referrers("registry.example/app:1.4", "application/vnd.example.sbom"):
            registry.referrer("registry.example/app:1.4", entry)                    # its own subject compared

From the outside in:

- ``client``: the verbs.
- ``limits``: every bound, in one value.
- ``_blobs``: reading a blob to its end across interruptions; layers that only their URLs have.
- ``_ranges``: parts of a blob.
- ``_push``: images as a whole; ``_upload``: blobs and manifests; ``_transfer``: one blob across interruptions.
- ``_referrers``: what refers to a manifest, by the API or by the tag schema; ``_pages``: lists in pages, tags.
- ``_locations``: URLs that a registry chooses; ``_budget``: how often a transfer may be interrupted.
- ``_notices``: warnings and rate limits.
- ``_session``: one request with its credentials, redirects and retries.
- ``_answers``: what a response means; error statuses as errors.
- ``_endpoints``: the URLs of the API.
- ``_places``: mirrors first, falling back; ``_proxy``: tunnels.
- ``_policy``: who may be asked, and who sees what.
- ``_messages``: requests and responses as values, and what a transport is.
- ``_transport``, ``_tls``, ``_wire``: connections, TLS, HTTP/1.1.
"""

from __future__ import annotations

from ociworks.image.remote._notices import Notice, RateLimit
from ociworks.image.remote.client import Client, ClientOptions
from ociworks.image.remote.limits import Limits

__all__ = ["Client", "ClientOptions", "Limits", "Notice", "RateLimit"]
