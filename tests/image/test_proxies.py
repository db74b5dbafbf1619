"""Proxies of registries as values: which ones there are, and who is excepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import HostsConfigError, NotSupported, SpecError
from ociworks.image.auth import Basic, Secret
from ociworks.image.hosts import Bypass, Proxies, Proxy
from ociworks.image.origin import Origin, Url


@pytest.mark.parametrize(
    ("text", "url", "credential"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128/", None),
        ("proxy.example:3128/", "http://proxy.example:3128/", None),
        ("HTTP://[fd00::1]:8080", "http://[fd00::1]:8080/", None),
        ("http://me:p%40ss@proxy.example", "http://proxy.example/", Basic("me", Secret("p@ss"))),
    ],
)
def test_proxies_are_read(text: str, url: str, credential: Basic | None) -> None:
    assert Proxy.parse(text) == Proxy(Url.parse(url).origin, credential)


def test_proxies_of_other_kinds_are_refused_without_showing_the_password() -> None:
    for text in ["socks5://p.example:1", "https://p.example"]:
        with pytest.raises(NotSupported, match="in http"):
            Proxy.parse(text)
    for value in [
        "http://me:hunter2@p.example:99999",
        "http://me:hunter2@",
        "https://me:hunter2@x",
        "http://a.b/path",
    ]:
        found = Proxies.from_environment({"https_proxy": value, "no_proxy": "without.example"})
        # Only who would need it hears of it.
        assert found.of(Origin("https", "without.example", 443)) is None
        assert found.of(Origin("https", "localhost", 443)) is None
        assert found.of(Origin("http", "r.example", 80)) is None
        with pytest.raises(HostsConfigError, match="HTTPS_PROXY") as caught:
            found.of(Origin("https", "r.example", 443))
        assert "hunter2" not in str(caught.value) + repr(found)


ENVIRONMENT = {
    "HTTP_PROXY": "http://plain.example:1",
    "https_proxy": "http://secure.example:2",
    "NO_PROXY": "example.com, .sub.example,*.star.example 10.0.0.0/8,192.0.2.1,[fd00::1],port.example:8443,!!",
}


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://registry.example", "secure.example:2"), ("http://registry.example", "plain.example:1"),
        ("https://example.com", None), ("https://a.example.com", None), ("https://notexample.com", "secure.example:2"),
        ("https://sub.example", "secure.example:2"), ("https://a.sub.example", None), ("https://b.star.example", None),
        ("https://10.1.2.3:5000", None), ("https://11.1.2.3", "secure.example:2"), ("https://192.0.2.1", None),
        ("https://[fd00::1]", None), ("https://[fd00::2]", "secure.example:2"), ("https://port.example:8443", None),
        ("https://port.example", "secure.example:2"), ("https://localhost:5000", None), ("http://127.0.0.1:5000", None),
    ],
)  # fmt: skip
def test_no_proxy(origin: str, expected: str | None) -> None:
    found = Proxies.from_environment(ENVIRONMENT).of(Url.parse(origin).origin)
    assert (found and found.origin.authority) == expected


def test_everything_can_be_excepted_and_a_request_cannot_choose_the_proxy() -> None:
    origin = Origin("http", "r.example", 80)
    assert Proxies.from_environment({**ENVIRONMENT, "NO_PROXY": "*"}).of(origin) is None
    assert Proxies.from_environment({**ENVIRONMENT, "REQUEST_METHOD": "GET"}).of(origin) is None
    assert Proxies.from_environment({}) == Proxies()


@given(st.text(max_size=40) | st.text(alphabet="abc.:*[]/0123", max_size=30))
def test_any_exception_is_read_or_refused(text: str) -> None:
    try:
        found = Bypass.parse(text)
    except SpecError:
        return
    found.covers(Origin("https", "abc.example", 443))
