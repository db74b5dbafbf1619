"""CR-16: the gRPC server as such: incomplete requests, streams, readers that do not read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ociworks.cri import CriService, _rpc, events
from ociworks.cri._methods import SERVICES, methods
from ociworks.cri._rpc import Method
from ociworks.cri._rpcserver import MESSAGE_SIZE
from ociworks.cri._rpcserver import serving as serving_alone
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import TooMany
from tests.cri.nodes import IMAGE, Client, client_of, config_below, container_config, pod_config, serving

CLEAN = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}


@pytest.fixture
def client(place: Path) -> Iterator[Client]:
    with CriService(config_below(place)) as service, serving(service, place) as client:
        yield client


def unreachable() -> Any:
    raise AssertionError


METHODS = [method for service in SERVICES for method in methods(service, unreachable)]


def filled(message: Message, depth: int = 0) -> Message:
    """The message with something in each of its fields."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None:
            value = scalar(field)
            if repeated(message, field):
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is None:
                getattr(message, field.name)["key"] = "value"
        elif depth < 4:
            inner = getattr(message, field.name)
            if repeated(message, field):
                filled(inner.add(), depth + 1)
            else:
                inner.SetInParent()
                filled(inner, depth + 1)
    return message


def repeated(message: Message, field: Any) -> bool:
    return hasattr(getattr(message, field.name), "append") or hasattr(getattr(message, field.name), "add")


def scalar(field: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return "none"
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"none"
    return 0 if field.enum_type else 1


def without(message: Message) -> Iterator[tuple[str, Message]]:
    """Copies, each without one of the fields at any depth."""
    for field, value in message.ListFields():
        copy = type(message)()
        copy.CopyFrom(message)
        copy.ClearField(field.name)
        yield field.name, copy
        if isinstance(value, Message):
            for path, inner in without(value):
                copy = type(message)()
                copy.CopyFrom(message)
                getattr(copy, field.name).CopyFrom(inner)
                yield f"{field.name}.{path}", copy


def code_of(client: Client, method: Method, request: Message) -> tuple[grpc.StatusCode, str]:
    service = client.images if hasattr(client.images, method.name) else client.runtime
    call = getattr(service, method.name)
    try:
        if method.streams:
            list(call(request, timeout=60))
        else:
            call(request, timeout=60)
    except grpc.RpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


@pytest.mark.parametrize(
    "method",
    [method for method in METHODS if method.name != "GetContainerEvents"],
    ids=lambda item: item.name,
)
def test_cr_16_incomplete_requests(client: Client, method: Method) -> None:
    """Each field absent, at every depth, and nothing at all: a clean answer, never an error of ours."""
    whole = filled(method.request())
    cases = [("nothing", method.request()), ("whole", whole), *without(whole)]
    for path, request in cases:
        code, details = code_of(client, method, request)
        assert code in CLEAN or details.startswith("RegistryUnavailable: "), (path, code, details)
        assert "Traceback" not in details


@pytest.mark.parametrize("method", METHODS, ids=lambda item: item.name)
def test_cr_16_text_with_nul(client: Client, method: Method) -> None:
    """Every text, wherever it is."""
    request = filled(method.request())
    for field, value in request.ListFields():
        if isinstance(value, str):
            hostile = type(request)()
            hostile.CopyFrom(request)
            setattr(hostile, field.name, "a\0b")
            code, details = code_of(client, method, hostile)
            assert code == grpc.StatusCode.INVALID_ARGUMENT
            assert details.startswith(f"{field.name}: expected text without NUL")


def test_cr_16_large_messages(place: Path) -> None:
    """17 MiB are refused before anything looks into them; the server goes on."""
    path = str(place / "own.sock")
    service = CriService(config_below(place))
    options = (("grpc.max_send_message_length", -1),)
    with serving_alone(service, path), grpc.insecure_channel(f"unix:{path}", options=options) as channel:
        call: Any = channel.unary_unary("/runtime.v1.RuntimeService/Version")
        with pytest.raises(grpc.RpcError) as found:
            call(api.VersionRequest(version="x" * (MESSAGE_SIZE + (1 << 20))).SerializeToString(), timeout=30)
        assert found.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert call(b"", timeout=30)


def test_cr_16_a_thousand_streams(client: Client) -> None:
    """Those beyond the bound are told so, and a plain call is answered while the others are open."""
    ended = threading.Semaphore(0)
    streams = [client.runtime.GetContainerEvents(api.GetEventsRequest()) for _ in range(1000)]
    for stream in streams:
        if not stream.add_callback(ended.release):
            ended.release()
    assert client.runtime.Version(api.VersionRequest(), timeout=30).runtime_name == "ociworks"
    for _ in range(1000 - _rpc.STREAMS):
        assert ended.acquire(timeout=30)
    followers(client, _rpc.STREAMS)
    codes = [stream.code() for stream in streams if not stream.is_active()]
    assert codes == [grpc.StatusCode.RESOURCE_EXHAUSTED] * (1000 - _rpc.STREAMS)
    for stream in streams:
        stream.cancel()
    followers(client, 0)


def followers(client: Client, count: int) -> None:
    with client.node.events.changed:
        assert client.node.events.changed.wait_for(lambda: len(client.node.events) == count, timeout=30)


def test_cr_16_streams_reset_at_once(client: Client) -> None:
    """Opened and cancelled two thousand times: nobody is left, and no thread."""
    before = threading.active_count()
    for _ in range(2000):
        client.runtime.GetContainerEvents(api.GetEventsRequest()).cancel()
    assert client.runtime.Version(api.VersionRequest(), timeout=30).runtime_name == "ociworks"
    followers(client, 0)
    assert threading.active_count() < before + 20


def test_cr_16_a_reader_that_does_not_read(client: Client) -> None:
    """It is cut, and told; publishing never waits, and another one misses nothing."""
    idle = client.node.events.subscribe()
    with ExitStack() as stack:
        busy = stack.enter_context(client.node.events.subscribe())
        for number in range(events.QUEUE + 5):
            client.node.events.publish(
                api.ContainerEventType.CONTAINER_CREATED_EVENT, str(number), "", at=number + 1
            )
            event = busy.next()
            assert event is not None
            assert event.container_id == str(number)
    with pytest.raises(TooMany, match="list everything anew"):
        list(idle)


def test_cr_16_a_client_that_does_not_read(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the wire: its call ends with RESOURCE_EXHAUSTED after what fitted."""
    stream = client.runtime.GetContainerEvents(api.GetEventsRequest())
    followers(client, 1)
    for _ in range(3 * events.QUEUE):
        client.node.events.publish(api.ContainerEventType.CONTAINER_CREATED_EVENT, "c" * 60_000, "")
    followers(client, 0)
    with pytest.raises(grpc.RpcError) as found:
        list(stream)
    assert found.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_cr_16_a_stranger_channel_at_rest(client: Client) -> None:
    """Fifty idle connections do not keep anybody out."""
    with ExitStack() as stack:
        for _ in range(50):
            channel = stack.enter_context(grpc.insecure_channel(client.target, options=[("x", len(str(_)))]))
            grpc.channel_ready_future(channel).result(timeout=30)
        with client_of(client.target, client.service) as other:
            assert other.runtime.Version(api.VersionRequest(), timeout=30).version


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: pods")
def test_cr_16_incomplete_requests_in_a_pod(cri: Client, place: Path) -> None:
    """The same where the rest is right, so that it reaches what makes pods and containers."""
    pod = pod_config(place)
    pod.linux.cgroup_parent = f"/ociworks-test-{place.name}"
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    for path, request in [
        ("whole", api.RunPodSandboxRequest(config=pod)),
        *without(api.RunPodSandboxRequest(config=pod)),
    ]:
        code, details = code_of(cri, method_of("RunPodSandbox"), request)
        assert code in CLEAN, (path, code, details)
        cri.remove_pods()
    sandbox = cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=pod)).pod_sandbox_id
    config = container_config(
        "true", envs=[api.KeyValue(key="a", value=b"b")], linux=hardened(), mounts=[mount_of(place)]
    )
    whole = api.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=pod)
    for path, request in [("whole", whole), *without(whole)]:
        code, details = code_of(cri, method_of("CreateContainer"), request)
        assert code in CLEAN, (path, code, details)
        for container in cri.runtime.ListContainers(api.ListContainersRequest()).containers:
            cri.runtime.RemoveContainer(api.RemoveContainerRequest(container_id=container.id))
    cri.remove_pods()


def method_of(name: str) -> Method:
    return next(method for method in METHODS if method.name == name)


def mount_of(place: Path) -> api.Mount:
    return api.Mount(host_path=str(place), container_path="/mnt", readonly=True)


def hardened() -> api.LinuxContainerConfig:
    return api.LinuxContainerConfig(
        resources=api.LinuxContainerResources(cpu_shares=256, memory_limit_in_bytes=64 << 20),
        security_context=api.LinuxContainerSecurityContext(
            run_as_user=api.Int64Value(value=7),
            run_as_group=api.Int64Value(value=8),
            supplemental_groups=[9],
            capabilities=api.Capability(drop_capabilities=["ALL"]),
            namespace_options=api.NamespaceOption(
                network=api.NamespaceMode.NODE, pid=api.NamespaceMode.CONTAINER
            ),
            seccomp=api.SecurityProfile(profile_type=api.SecurityProfile.ProfileType.RuntimeDefault),
            masked_paths=["/proc/kcore"],
            readonly_paths=["/proc/sys"],
        ),
    )
