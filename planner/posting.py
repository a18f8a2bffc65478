"""One POST to an address that people gave us: never into a private network, never along a redirect, never for long.

The address that is checked is the one that is connected to: the name is resolved once, here.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
from django.conf import settings

SHOWN = 500  # characters of the answer that are kept
_READ = 4 * SHOWN  # bytes of it that are read
_NAT64 = IPv6Network("64:ff9b::/96")
_ADDRESSES_TRIED = 3
Address = IPv4Address | IPv6Address


class Refused(Exception):
    """This server does not send there."""


@dataclass(slots=True)
class Posted:
    """What came of it.

    `result`: delivered, failed, gone (410) or refused (by us); `status` and `response` are None and empty when there
    was no answer; `reason` says why it is not delivered; `retry_after` is what the receiver asked for, in seconds.
    """

    result: str
    ms: int
    status: int | None = None
    response: str = ""
    reason: str = ""
    retry_after: int = 0


def public(address: Address) -> bool:
    """Whether an address is on the open internet, also the IPv4 address that an IPv6 one stands for."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return public(address.ipv4_mapped)
        inner = address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and (address in _NAT64 or int(address) < 2**32):
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if address.is_site_local or (inner is not None and not public(inner)):
            return False
    return address.is_global and not address.is_multicast


async def addresses(host: str, port: int) -> list[Address]:
    """What a host name stands for. Raises Refused if any of it is private and that is not allowed."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(f"the name cannot be resolved: {error}") from error
    known = list(dict.fromkeys(ip_address(where[0]) for *_, where in found))
    if not settings.WEBHOOKS_ALLOW_PRIVATE:
        for address in known:
            if not public(address):
                raise Refused(
                    f"{host} is {address}, which is not a public address; SOORMA_WEBHOOKS_ALLOW_PRIVATE=1 allows it"
                )
    return known


class _PublicOnly(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that were checked. TLS still asks for the certificate of the name."""

    def __init__(self) -> None:
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        error: Exception = httpcore.ConnectError("the name has no address")
        for address in (await addresses(host, port))[:_ADDRESSES_TRIED]:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error


@cache
def _tls() -> ssl.SSLContext:
    return httpcore.default_ssl_context()


async def post(url: str, headers: dict[str, str], body: bytes) -> Posted:
    """Send it once, within the time that the settings allow. Raises nothing: whatever happens is an answer."""
    start = time.monotonic()
    try:
        async with asyncio.timeout(settings.WEBHOOK_TIMEOUT):
            posted = await _post(url, headers, body)
    except Refused as refused:
        posted = Posted("refused", 0, reason=str(refused))
    except TimeoutError:
        posted = Posted("failed", 0, reason=f"no answer within {settings.WEBHOOK_TIMEOUT:g} s")
    except Exception as error:
        # Whatever a stranger's server does to the connection is its failure, not ours.
        posted = Posted("failed", 0, reason=f"{type(error).__name__}: {error}"[:SHOWN])
    posted.ms = round((time.monotonic() - start) * 1000)
    return posted


async def _post(url: str, headers: dict[str, str], body: bytes) -> Posted:
    async with (
        httpcore.AsyncConnectionPool(ssl_context=_tls(), network_backend=_PublicOnly(), max_connections=1) as pool,
        pool.stream("POST", url, headers=list(headers.items()), content=body) as answer,
    ):
        text = await _beginning(answer)
        told = {name.lower(): value.decode("latin-1") for name, value in answer.headers}
    return _judged(answer.status, text, told)


async def _beginning(answer: httpcore.Response) -> str:
    read = b""
    async for part in answer.aiter_stream():
        read += part
        if len(read) >= _READ:
            break
    return read[:_READ].decode("utf-8", "replace").replace("\x00", "\ufffd")[:SHOWN]


def _judged(status: int, text: str, headers: dict[bytes, str]) -> Posted:
    posted = Posted("failed", 0, status, text)
    if 200 <= status < 300:
        posted.result = "delivered"
    elif 300 <= status < 400:
        to = headers.get(b"location", "nowhere")[:200]
        posted.result, posted.reason = "refused", f"answered {status}, a redirect to {to}: redirects are not followed"
    elif status == 410:
        posted.result, posted.reason = "gone", "answered 410: the receiver wants no more"
    else:
        posted.reason = f"answered {status}"
        asked = headers.get(b"retry-after", "")
        posted.retry_after = min(int(asked), 24 * 3600) if asked.isdecimal() and len(asked) < 10 else 0
    return posted
