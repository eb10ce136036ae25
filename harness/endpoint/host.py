"""Whether an address is of this very host: then client and server share its cores."""

import ipaddress
import socket

ON_THIS_HOST = "the server is on this host: it shares the CPUs with LoadGen, and no network lies between"
"""What is said of every such measurement."""

_TIMEOUT_S = 5.0


def remarks(shown: str, host: str, port: int) -> list[str]:
    """Return what there is to say of an endpoint that shares this machine; nothing of any other."""
    try:
        return [f"{shown}: {ON_THIS_HOST}."] if is_this_host(host, port) else []
    except OSError as error:
        return [
            f"{shown}: nobody listens there any more ({error}), so whether it is on this host is not known."
        ]


def is_this_host(host: str, port: int) -> bool:
    """Return whether what listens at an address is on this host, as far as the addresses tell.

    A connection from a host to itself has the same address at both ends; one through a bridge to a container
    does not, and counts as another host.

    Raises:
        OSError: nobody listens there.
    """
    with socket.create_connection((host, port), _TIMEOUT_S) as connection:
        here, there = connection.getsockname()[0], connection.getpeername()[0]
    return bool(here == there or ipaddress.ip_address(there.partition("%")[0]).is_loopback)
