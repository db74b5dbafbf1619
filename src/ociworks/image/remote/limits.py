"""Every bound of a registry client, in one value."""

from __future__ import annotations

from typing import Final

from attrs import frozen

__all__ = ["DEFAULT_LIMITS", "Limits"]


@frozen(kw_only=True)
class Limits:
    """Sizes in bytes, times in seconds. A bound that is reached raises a typed error that names it."""

    max_document: int = 8 * 1024 * 1024
    """A manifest, index or image configuration."""
    max_manifest_pushed: int = 4 * 1024 * 1024
    """A manifest or index that is sent: what every registry accepts."""
    max_error_body: int = 64 * 1024
    """The body of an error; what is beyond is never read, the connection is dropped instead."""
    max_token_body: int = 64 * 1024
    """The answer of a token endpoint."""
    max_header: int = 64 * 1024
    """The head of one response, all headers together."""
    max_interim: int = 8
    """Interim (1xx) responses before the real one."""
    redirects: int = 5
    challenges: int = 2
    """Times that one request is repeated because the registry asks for (other) credentials."""
    attempts: int = 4
    """Times that one request is tried in all when it fails for a temporary reason."""
    resumes: int = 5
    """Interruptions of one blob, in a row, that each brought less than ``resume_progress``."""
    resume_progress: int = 64 * 1024
    max_resumes: int = 1000
    """Interruptions of one blob in all."""
    max_chunk: int = 256 * 1024 * 1024
    """One piece of an upload, whatever minimum the registry asks for (``OCI-Chunk-Min-Length``)."""
    fallback_chunk: int = 32 * 1024 * 1024
    """One piece of an upload that the registry found too large as a whole (413)."""
    max_pages: int = 1000
    """Pages of one list."""
    max_items: int = 100_000
    """Tags or referrers of one list."""
    max_urls: int = 8
    """Places that are tried for one non-distributable layer."""
    first_delay: float = 0.5
    """Before the second attempt; it doubles for each further one."""
    longest_delay: float = 60.0
    """A registry that asks for a longer pause (Retry-After) is not waited for."""
    connect_timeout: float = 15.0
    read_timeout: float = 30.0
    """For one read or write to make any progress."""
    answer_deadline: float = 120.0
    """For everything but a blob: from the request to the last byte. For a blob: to the end of the head."""
    slow_window: float = 60.0
    """A blob must bring at least ``slow_bytes`` in each window of this length."""
    slow_bytes: int = 64 * 1024


DEFAULT_LIMITS: Final = Limits()
"""The bounds unless the caller says otherwise."""
