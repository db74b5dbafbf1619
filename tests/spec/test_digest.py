"""Digests, hashers and verifying readers."""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import DigestMismatch, InvalidDigest, SizeMismatch, SpecError, UnsupportedDigest
from ociworks.spec.digest import ALGORITHMS, Digest, Hasher, VerifyingReader

HEX = "0123456789abcdef" * 4
UNSUPPORTED = [
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "blake3:" + HEX,
    "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
    "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
    "shake_128:" + HEX[:32],
]


@given(st.sampled_from(sorted(ALGORITHMS)), st.binary(max_size=200))
def test_a_computed_digest_reads_back(algorithm: str, data: bytes) -> None:
    """``of``, ``parse`` and ``str`` agree with hashlib, and value semantics hold."""
    digest = Digest.of(data, algorithm)
    assert str(digest) == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    again = Digest.parse(str(digest))
    assert again == digest
    assert hash(again) == hash(digest)
    assert (digest.algorithm, digest.encoded) == tuple(str(digest).split(":"))
    assert digest.supported
    digest.verify(data)
    with pytest.raises(DigestMismatch, match="expected sha"):
        digest.verify(data + b"x")


def test_a_digest_is_a_value(tmp_path: Path) -> None:
    """Frozen, copied and pickled as itself, ordered, different from its text."""
    digest = Digest.of(b"abc")
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    assert Digest.of_file(file) == digest
    assert pickle.loads(pickle.dumps(digest)) == digest
    assert copy.deepcopy(digest) == digest
    assert repr(digest) == f"Digest('{digest}')"
    other: object = str(digest)
    assert digest != other
    assert sorted([Digest.of(b"b"), Digest.of(b"a")]) == sorted([Digest.of(b"a"), Digest.of(b"b")])
    with pytest.raises(AttributeError, match="cannot change"):
        setattr(digest, "_text", "x")  # noqa: B010  # the type checker would refuse the plain assignment
    with pytest.raises(AttributeError, match="cannot change"):
        delattr(digest, "_text")


HOSTILE = [
    "sha256:../../../x",
    "sha256:%2e%2e%2f",
    f"sha256:{HEX[:-1]}",
    f"sha256:{HEX}0",
    f"sha256:{HEX.upper()}",
    f"SHA256:{HEX}",
    f"sha256:{HEX}\n",
    f" sha256:{HEX}",
    f"sha256:{HEX[:-1]}\0",
    f"sha256:{HEX[:-1]}０",
    "sha256:",
    ":",
    "",
    HEX,
    f"sha256:{HEX}:{HEX}",
    "sha256:\0",
    "sha256:aa/../../manifests/latest",
    f"sha512:{HEX}",
    f"../sha256:{HEX}",
    "a..b:abc",
    ".:abc",
    "x:" + "a" * 300,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_rg_07_hostile_digests(text: str) -> None:
    """They are refused when the value is built, by every constructor."""
    with pytest.raises(InvalidDigest, match="expected"):
        Digest.parse(text)
    with pytest.raises(InvalidDigest):
        Digest(text)


@given(st.text(max_size=80) | st.from_regex(r"[a-z0-9+._-]{1,9}:[a-zA-Z0-9=_/.%-]{1,70}", fullmatch=True))
def test_rg_07_whatever_parses_is_safe_in_a_path(text: str) -> None:
    """Both halves are plain file names, whatever the algorithm."""
    try:
        digest = Digest.parse(text)
    except InvalidDigest:
        return
    for half in (digest.algorithm, digest.encoded):
        assert half.isascii()
        assert not set(half) & set("/\\%:\0\n")
        assert half not in {"", ".", ".."}
        assert len(half) < 255


@pytest.mark.parametrize("text", UNSUPPORTED)
def test_rg_08_unknown_algorithms(text: str) -> None:
    """They survive reading and writing, and fail every verification before a byte is read."""
    digest = Digest.parse(text)
    assert str(digest) == text
    assert not digest.supported
    source = io.BytesIO(b"data")
    for verification in (
        lambda: digest.verify(b"data"),
        lambda: Hasher(digest.algorithm),
        lambda: VerifyingReader(source, digest=digest, size=4),
        lambda: Digest.of(b"data", digest.algorithm),
    ):
        with pytest.raises(UnsupportedDigest, match="ociworks verifies sha256, sha384, sha512"):
            verification()
    assert source.tell() == 0


@pytest.mark.parametrize("algorithm", ["", "SHA256", "sha256\n", "shake_256", "sha3_256"])
def test_rg_08_names_never_reach_hashlib_new(algorithm: str) -> None:
    """What hashlib would know is refused as well."""
    with pytest.raises(UnsupportedDigest):
        Hasher(algorithm)


@given(st.lists(st.binary(max_size=50)), st.sampled_from(sorted(ALGORITHMS)))
def test_a_hasher_hashes_the_concatenation(pieces: list[bytes], algorithm: str) -> None:
    """However the bytes are cut."""
    hasher = Hasher(algorithm)
    for piece in pieces:
        hasher.update(memoryview(piece))
    assert hasher.digest() == Digest.of(b"".join(pieces), algorithm)
    assert hasher.size == sum(map(len, pieces))


def reader(content: bytes, *, promised: bytes | None = None, size: int | None = None) -> VerifyingReader:
    """A reader of ``content`` that was promised to be ``promised``."""
    promised = content if promised is None else promised
    length = len(promised) if size is None else size
    return VerifyingReader(io.BytesIO(content), digest=Digest.of(promised), size=length, what="layer 3")


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=50))
def test_a_verifying_reader_hands_on_exactly_the_content(content: bytes, step: int) -> None:
    """By read, by readinto, by iteration; verified at the end only."""
    with reader(content) as first:
        assert not first.verified
        assert first.read() == content
    assert first.verified
    assert first.consumed == len(content)
    assert first.read() == b""
    second, out, buffer = reader(content), bytearray(), bytearray(step)
    while count := second.readinto(buffer):
        out += buffer[:count]
    assert bytes(out) == content
    assert second.verified
    assert b"".join(reader(content)) == content
    assert io.BytesIO(content).readable() == second.readable()


@given(st.binary(min_size=1, max_size=100), st.data())
def test_rg_09_any_change_is_found(content: bytes, data: st.DataObject) -> None:
    """However much the consumer reads before the block ends, a changed byte is an error."""
    place = data.draw(st.integers(min_value=0, max_value=len(content) - 1))
    changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    amount = data.draw(st.integers(min_value=0, max_value=len(content)))
    with (
        pytest.raises(DigestMismatch, match=r"^layer 3: expected sha256:.* after"),
        reader(changed, promised=content) as r,
    ):
        r.read(amount)
    assert not r.verified


def test_rg_09_a_consumer_that_stops_early_is_drained() -> None:
    """The rest is read by the block's end, and the content is good only then."""
    with reader(b"tar and end marker, then more") as r:
        assert r.read(3) == b"tar"
        assert not r.verified
    assert r.verified


def test_rg_09_a_consumer_that_raises_gets_no_verdict() -> None:
    """The error passes through, nothing more is read, and the content is not good."""
    source = io.BytesIO(b"x" * 100)
    r = VerifyingReader(source, digest=Digest.of(b"x" * 100), size=100)
    with pytest.raises(ZeroDivisionError), r:
        _ = len(r.read(10)) // 0
    assert source.tell() == 10
    assert not r.verified


class Endless:
    """A source that never ends, and tells how much was asked of it."""

    given = 0

    def read(self, size: int, /) -> bytes:
        """As much as is asked."""
        self.given += size
        return b"\0" * size


def test_rg_09_one_byte_too_many_is_an_error_and_is_not_handed_out() -> None:
    """Draining stops one byte beyond the promised size."""
    source = Endless()
    r = VerifyingReader(source, digest=Digest.of(b"\0" * 1000), size=1000, what="layer 3")
    with pytest.raises(SizeMismatch, match="layer 3: expected 1000 bytes, got at least 1001"):
        r.read()
    assert source.given == 1001
    assert r.consumed == 1000
    with pytest.raises(SizeMismatch), reader(b"abcd", size=3, promised=b"abc") as other:
        assert other.read(3) == b"abc"
    assert not other.verified


@pytest.mark.parametrize("content", [b"", b"ab"])
def test_rg_10_short_content(content: bytes) -> None:
    """Fewer bytes than promised: an error from the read that meets the end, and from the block."""
    with pytest.raises(SizeMismatch, match=f"expected 3 bytes, got {len(content)}"):
        reader(content, promised=b"abc").read()
    with pytest.raises(SizeMismatch), reader(content, promised=b"abc"):
        pass


def test_rg_10_negative_sizes() -> None:
    """Refused before anything is read."""
    with pytest.raises(SpecError, match="size of 0 or more, got -1"):
        reader(b"", size=-1)


def test_empty_content_is_verified_too() -> None:
    """Size 0 means no byte, with the digest of nothing."""
    with reader(b"") as r:
        pass
    assert r.verified
    with pytest.raises(DigestMismatch), reader(b"", promised=b"abc", size=0):
        pass


class Trickle:
    """A source that gives one byte at a time."""

    def __init__(self, content: bytes) -> None:
        self.file = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        """One byte."""
        return self.file.read(min(size, 1))


def test_short_reads_are_not_the_end() -> None:
    """Only an empty read is."""
    with VerifyingReader(Trickle(b"hello"), digest=Digest.of(b"hello"), size=5) as r:
        assert r.read() == b"hello"


class Generous:
    """A source that returns more than it was asked for."""

    def read(self, size: int, /) -> bytes:
        """Ten bytes more."""
        return b"\0" * (size + 10)


def test_a_source_that_returns_too_much_is_not_trusted() -> None:
    """Bytes beyond the size are never handed out."""
    with pytest.raises(SizeMismatch):
        VerifyingReader(Generous(), digest=Digest.of(b"\0"), size=1).read(1)
