"""Registries (distribution-spec): resolve, pull, push.

::

    with remote.Client() as registry:
        img = registry.image("registry.example/app:1.4", platform="linux/arm64")    # manifest and config only
        registry.push(img, "registry.example/copy:1.4")

From the outside in:

- ``client``: the verbs.
- ``limits``: every bound, in one value.
- ``_blobs``: reading a blob to its end across interruptions.
- ``_upload``: pushing blobs and manifests.
- ``_session``: one request with its credentials, redirects and retries.
- ``_answers``: what a response means; error statuses as errors.
- ``_endpoints``: the URLs of the API.
- ``_policy``: who may be asked, and who sees what.
- ``_messages``: requests and responses as values, and what a transport is.
- ``_transport``, ``_wire``: connections, TLS, HTTP/1.1.
"""

from __future__ import annotations

from ociworks.image.remote.client import Client, ClientOptions
from ociworks.image.remote.limits import Limits

__all__ = ["Client", "ClientOptions", "Limits"]
