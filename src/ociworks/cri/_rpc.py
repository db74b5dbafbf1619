"""RPCs on a gRPC server: functions of a node and a request, wrapped once.

Each call is checked (no NUL), logged at debug level, and answers errors by :mod:`ociworks.cri._status`; one that nobody
foresaw is INTERNAL for the client and a traceback for our log only.

=================  ==========================  =====================================================
call               ``grpc.server``             ``grpc.aio.server``
=================  ==========================  =====================================================
unary              in one of our own threads   awaited, in one of our own threads
list in pieces     a thread of its own         a generator; the list is made in one of our threads
events             a thread of its own         a generator, woken by the publisher
=================  ==========================  =====================================================

So nothing here ever holds a thread that the application's other services need. Streams at a time are bounded.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

import grpc
import grpc.aio

from ociworks.cri._caller import Caller
from ociworks.cri._requests import check_text, subject
from ociworks.cri._status import status_of
from ociworks.cri.events import Subscription
from ociworks.errors import OciworksError

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["Method", "Wrapper"]

logger = logging.getLogger(__name__)

STREAMS: Final = 256
"""Streaming calls at a time."""
_WORKERS: Final = 128
_QUICK_WORKERS: Final = 8
T = TypeVar("T")


class Method(NamedTuple):
    """One RPC: what the descriptor says of it, and what it does."""

    name: str
    request: type[Message]
    response: type[Message]
    call: Callable[[Any], Any]
    streams: bool
    slow: bool
    """Whether it may wait for programs, networks or other requests."""
    audited: bool
    """Whether it changes anything."""


class _Pool(ThreadPoolExecutor):
    """Goes on answering after its end, in threads of the moment: a server may outlive the service on it."""

    def submit(self, work: Callable[..., T], /, *arguments: Any, **keywords: Any) -> Future[T]:  # noqa: ANN401 - as its parent
        try:
            return super().submit(work, *arguments, **keywords)
        except RuntimeError:
            done: Future[T] = Future()
            threading.Thread(
                target=_run, args=(done, lambda: work(*arguments, **keywords)), daemon=True
            ).start()
            return done


def _run(done: Future[T], work: Callable[[], T]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is the future's
        done.set_exception(error)


class Failure(NamedTuple):
    """How a call ended for the client."""

    code: grpc.StatusCode
    details: str


class Wrapper:
    """Makes handlers of methods, and owns the threads in which they run."""

    def __init__(self) -> None:
        self._slow = _Pool(_WORKERS, thread_name_prefix="ociworks-cri")
        self._quick = _Pool(_QUICK_WORKERS, thread_name_prefix="ociworks-cri-quick")
        self._streams = threading.BoundedSemaphore(STREAMS)

    def close(self) -> None:
        """End the threads after what they are at."""
        self._slow.shutdown()
        self._quick.shutdown()

    def handler(self, method: Method, *, is_async: bool) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of one RPC for a server of that kind."""
        codecs = (method.request.FromString, method.response.SerializeToString)
        if method.streams:
            stream = self._async_stream(method) if is_async else self._stream(method)
            return grpc.unary_stream_rpc_method_handler(stream, *codecs)
        unary = self._async_unary(method) if is_async else self._unary(method)
        return grpc.unary_unary_rpc_method_handler(unary, *codecs)

    def _pool(self, method: Method) -> ThreadPoolExecutor:
        return self._slow if method.slow else self._quick

    # --- grpc.server ----------------------------------------------------------------------------------

    def _unary(self, method: Method) -> Callable[[Message, grpc.ServicerContext], Message]:
        def answer(request: Message, context: grpc.ServicerContext) -> Message:
            caller = Caller()
            context.add_callback(caller.leave)
            with caller.waiting():
                result = attempt(method, request)
            if isinstance(result, Failure):
                context.abort(*result)
            return cast("Message", result)

        answer.experimental_thread_pool = self._pool(method)  # type: ignore[attr-defined]
        return answer

    def _stream(self, method: Method) -> Callable[..., None]:
        def answer(
            request: Message, context: grpc.ServicerContext, send: Callable[[Message | None], None]
        ) -> None:
            if not self._streams.acquire(blocking=False):
                context.abort(*_TOO_MANY)
            work = threading.Thread(
                target=self._serve_stream, args=(method, request, context, send), daemon=True
            )
            try:
                work.start()
            except RuntimeError:
                self._streams.release()
                context.abort(*_TOO_MANY)

        answer.experimental_non_blocking = True  # type: ignore[attr-defined]
        answer.experimental_thread_pool = self._quick  # type: ignore[attr-defined]
        return answer

    def _serve_stream(
        self,
        method: Method,
        request: Message,
        context: grpc.ServicerContext,
        send: Callable[[Message | None], None],
    ) -> None:
        try:
            failure = attempt(method, request, lambda found: _send_all(found, context, send))
            if isinstance(failure, Failure):
                context.set_code(failure.code)
                context.set_details(failure.details)
            send(None)
        finally:
            self._streams.release()

    # --- grpc.aio.server ------------------------------------------------------------------------------

    def _async_unary(self, method: Method) -> Callable[..., Any]:
        async def answer(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            caller = Caller()
            try:
                result = await asyncio.get_running_loop().run_in_executor(
                    self._pool(method), _attempt_for, caller, method, request
                )
            finally:
                caller.leave()
            if isinstance(result, Failure):
                await context.abort(*result)
            return cast("Message", result)

        return answer

    def _async_stream(self, method: Method) -> Callable[..., Any]:
        async def answer(
            request: Message, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[Message]:
            if not self._streams.acquire(blocking=False):
                await context.abort(*_TOO_MANY)
            try:
                found = await asyncio.get_running_loop().run_in_executor(
                    self._pool(method), attempt, method, request, _whole
                )
                if isinstance(found, Failure):
                    await context.abort(*found)
                async for message in _each(found):
                    yield message
            except OciworksError as error:
                await context.abort(status_of(error), str(error))
            finally:
                self._streams.release()

        return answer


_TOO_MANY: Final = Failure(
    grpc.StatusCode.RESOURCE_EXHAUSTED, f"expected at most {STREAMS} streaming calls at a time"
)


def attempt(method: Method, request: Message, then: Callable[[Any], Any] = lambda found: found) -> Any:  # noqa: ANN401 - a Message, or what ``then`` makes
    """What the call gives, or how it failed. Never raises what a client could see a traceback of."""
    about = subject(request) if method.audited else ""
    try:
        check_text(request)
        found = then(method.call(request))
    except OciworksError as error:
        logger.debug("%s %s: %s", method.name, about, error)
        return Failure(status_of(error), str(error))
    except Exception:
        logger.exception("%s %s failed", method.name, about)
        return Failure(
            grpc.StatusCode.INTERNAL, f"{method.name}: an error of the server; its log has the details"
        )
    if method.audited:
        logger.debug("%s %s: done", method.name, about)
    return found


def _attempt_for(caller: Caller, method: Method, request: Message) -> Any:  # noqa: ANN401 - as attempt
    with caller.waiting():
        return attempt(method, request)


def _send_all(
    found: Iterable[Message] | Subscription,
    context: grpc.ServicerContext,
    send: Callable[[Message | None], None],
) -> None:
    if isinstance(found, Subscription):
        with found:
            if context.add_callback(found.close):
                _send_each(found, context, send)
    else:
        _send_each(found, context, send)


def _send_each(
    found: Iterable[Message], context: grpc.ServicerContext, send: Callable[[Message | None], None]
) -> None:
    for message in found:
        if not context.is_active():
            return
        send(message)


def _whole(found: Iterable[Message] | Subscription) -> list[Message] | Subscription:
    return found if isinstance(found, Subscription) else list(found)


async def _each(found: list[Message] | Subscription) -> AsyncIterator[Message]:
    if isinstance(found, Subscription):
        with found:
            async for event in _follow(found):
                yield event
    else:
        for message in found:
            yield message


async def _follow(subscription: Subscription) -> AsyncIterator[Message]:
    """Its events, without a thread: the publisher wakes the loop."""
    loop, news = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(news.set)

    subscription.on_news(wake)
    while True:
        news.clear()
        event = subscription.next(wait=False)
        if event is not None:
            yield event
        elif subscription.ended:
            return
        else:
            await news.wait()
