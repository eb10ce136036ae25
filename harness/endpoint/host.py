"""Whether an address is of this very host: then client and server share its cores."""

import ipaddress
import socket

_TIMEOUT_S = 5.0


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
