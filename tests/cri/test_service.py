"""The servicer on real servers, as a client sees it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

import ociworks
from ociworks.cri import CriService
from ociworks.cri._methods import SERVICES, methods
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.proto import runtime_v1_pb2_grpc as wire
from ociworks.errors import InvalidRequest, PodStateError, StoreError
from tests.cri.nodes import Client, client_of, config_below, pod_config, serving


@pytest.fixture
def client(place: Path) -> Iterator[Client]:
    """A server without any images."""
    with CriService(config_below(place)) as service, serving(service, place) as client:
        yield client


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as found:
        call()
    return found.value.code(), found.value.details() or ""


def test_every_rpc_is_a_function() -> None:
    """All 43 by the descriptors' table."""

    def none() -> object:
        raise AssertionError

    found = [method for service in SERVICES for method in methods(service, none)]  # type: ignore[arg-type]
    assert len(found) == len({method.name for method in found}) == 43


def test_version(client: Client) -> None:
    """A kubelet refuses an empty field, and any version but this."""
    version = client.runtime.Version(api.VersionRequest())
    assert version == api.VersionResponse(
        version="0.1.0",
        runtime_name="ociworks",
        runtime_version=ociworks.__version__,
        runtime_api_version="v1",
    )


@pytest.mark.parametrize("driver", ["cgroupfs", "systemd"])
def test_runtime_config(place: Path, driver: str) -> None:
    """The kubelet learns the control group driver."""
    with (
        CriService(config_below(place, cgroup_driver=driver)) as service,
        serving(service, place) as client,
    ):
        config = client.runtime.RuntimeConfig(api.RuntimeConfigRequest())
    assert api.CgroupDriver.Name(config.linux.cgroup_driver) == driver.upper()


def test_no_network_is_told(client: Client) -> None:
    """Status is true: without a network configuration pods cannot be run."""
    status = client.runtime.Status(api.StatusRequest())
    ready = {item.type: item.status for item in status.status.conditions}
    assert ready == {"RuntimeReady": True, "NetworkReady": False}
    network = next(item for item in status.status.conditions if item.type == "NetworkReady")
    assert network.reason == "NetworkPluginNotReady"
    assert network.message
    assert not status.info
    assert client.runtime.Status(api.StatusRequest(verbose=True)).info["config"].startswith("{")


def test_what_is_missing_is_named(client: Client) -> None:
    """An absent sub-message is the client's error."""
    code, details = refused(lambda: client.runtime.RunPodSandbox(api.RunPodSandboxRequest()))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details == "config: expected a value, got none"


def test_nul_is_refused(client: Client, place: Path) -> None:
    """Wherever in the request it is."""
    pod = pod_config(place, labels={"a\0b": "c"})
    code, details = refused(lambda: client.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=pod)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("config.labels: expected text without NUL")


def test_an_unforeseen_error_stays_here(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns nothing of the inside; the log everything."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret of the inside")

    monkeypatch.setattr(client.node, "conditions", broken)
    code, details = refused(lambda: client.runtime.Status(api.StatusRequest()))
    assert code == grpc.StatusCode.INTERNAL
    assert "secret" not in details
    assert "secret of the inside" in caplog.text


def test_changes_are_logged_without_secrets(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is pulled, not with which password."""

    class Images:
        def pull(self, *_: object) -> str:
            raise InvalidRequest("no")

    monkeypatch.setattr(client.node, "images", Images())
    request = api.PullImageRequest(
        image=api.ImageSpec(image="registry.example/a"), auth=api.AuthConfig(username="u", password="hidden")
    )
    with caplog.at_level(logging.DEBUG, "ociworks"):
        refused(lambda: client.images.PullImage(request))
    assert "registry.example/a" in caplog.text
    assert "hidden" not in caplog.text


def test_two_servers_of_one_directory(client: Client, place: Path) -> None:
    """The second one is refused, and says why."""
    with pytest.raises(StoreError, match="another server uses this directory"):
        CriService(config_below(place)).start()


def test_a_closed_service_says_so(place: Path) -> None:
    """Its server may still be there."""
    service = CriService(config_below(place))
    with serving(service, place) as client:
        service.close()
        service.close()
        with pytest.raises(PodStateError):
            service.start()
        code, said = refused(lambda: client.runtime.Version(api.VersionRequest()))
        assert (code, said) == (grpc.StatusCode.UNAVAILABLE, "this service is closed: ask the next one")


def test_closing_ends_pulls(place: Path) -> None:
    """One that would wait for its registry for ever fails at once, and says why."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}/app:1"
        service = CriService(config_below(place, image_pull_timeout=0))
        with serving(service, place) as client:
            request = api.PullImageRequest(image=api.ImageSpec(image=name))
            pull = client.images.PullImage.future(request)
            connection, _ = silent.accept()
            with connection:
                service.close()
                assert refused(pull.result) == (
                    grpc.StatusCode.UNAVAILABLE,
                    "the server ends: ask the next one",
                )


def test_events(client: Client) -> None:
    """Published ones reach every follower, in order."""
    streams = [client.runtime.GetContainerEvents(api.GetEventsRequest()) for _ in range(3)]
    wait_for_followers(client, 3)
    for name in ("a", "b"):
        client.node.events.publish(api.ContainerEventType.CONTAINER_CREATED_EVENT, name, "pod")
    for stream in streams:
        assert [next(stream).container_id for _ in range(2)] == ["a", "b"]
        stream.cancel()


def test_those_who_would_keep_a_server_from_ending_are_let_go(place: Path) -> None:
    """Followers see the end of events, and a pull from a silent registry fails; other calls are answered."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = config_below(place, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with CriService(config) as service, serving(service, place) as client:
            following = client.runtime.GetContainerEvents(api.GetEventsRequest())
            wait_for_followers(client, 1)
            image = api.ImageSpec(image="registry.example/a:1")
            pulling = client.images.PullImage.future(api.PullImageRequest(image=image))
            connection, _ = silent.accept()
            service.wind_down()
            service.wind_down()
            assert list(following) == []
            assert refused(pulling.result)[0] == grpc.StatusCode.UNAVAILABLE
            assert client.runtime.Version(api.VersionRequest()).runtime_name == "ociworks"
            connection.close()


def wait_for_followers(client: Client, count: int) -> None:
    """Subscriptions are made by other threads."""
    events = client.node.events
    with events.changed:
        assert events.changed.wait_for(lambda: len(events) == count, timeout=60)


def test_on_an_asyncio_server(place: Path) -> None:
    """The same handlers, unary and streaming, on grpc.aio."""
    service = CriService(config_below(place))

    async def use() -> None:
        target = f"unix:{place}/cri.sock"
        server = grpc.aio.server()
        service.add_to_server(server)
        server.add_insecure_port(target)
        await server.start()
        async with grpc.aio.insecure_channel(target) as channel:
            runtime: Any = wire.RuntimeServiceStub(channel)
            assert (await runtime.Version(api.VersionRequest())).runtime_name == "ociworks"
            with pytest.raises(grpc.aio.AioRpcError) as found:
                await runtime.RunPodSandbox(api.RunPodSandboxRequest())
            assert found.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            stream = runtime.GetContainerEvents(api.GetEventsRequest())
            reading = asyncio.ensure_future(stream.read())
            events = service._serving().events
            await asyncio.get_running_loop().run_in_executor(None, followed, events)
            events.publish(api.ContainerEventType.CONTAINER_STARTED_EVENT, "c", "pod")
            assert (await reading).container_id == "c"
            stream.cancel()
        await server.stop(None)

    with service:
        asyncio.run(use())


def followed(events: object) -> None:
    with events.changed:  # type: ignore[attr-defined]
        assert events.changed.wait_for(lambda: len(events) == 1, timeout=60)  # type: ignore[attr-defined, arg-type]


def test_beside_other_services(place: Path) -> None:
    """Calls take no thread of the application's server: one worker is enough while calls wait."""
    server = grpc.server(ThreadPoolExecutor(1))
    target = f"unix:{place}/app.sock"
    with CriService(config_below(place)) as service:
        service.add_to_server(server)
        server.add_insecure_port(target)
        server.start()
        with client_of(target, service) as client:
            streams = [client.runtime.GetContainerEvents(api.GetEventsRequest()) for _ in range(5)]
            wait_for_followers(client, 5)
            assert client.runtime.Version(api.VersionRequest(), timeout=60).runtime_name == "ociworks"
            for stream in streams:
                stream.cancel()
            wait_for_followers(client, 0)
        server.stop(None).wait()
