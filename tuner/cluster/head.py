"""Watch whether the head of a joined cluster answers.

If it does not for a minute, Ray ends the driver's process. Until then a cluster whose head is
fault-tolerant may restart it, and its searches continue.
"""

import os
import socket
import time
from typing import final

#: Seconds after which Ray ends the process, and its variable for them.
_RAYS_PATIENCE = ("RAY_gcs_rpc_server_reconnect_timeout_s", 60.0)
#: Of them, those in which a search can stop in order.
_TO_STOP_S = 15.0
_TIMEOUT_S = 5.0


@final
class Head:
    """The head of a cluster, by the address of its control store."""

    def __init__(self, address: str) -> None:
        """Assume that it has just answered."""
        host, _, port = address.rpartition(":")
        self._address = (host.strip("[]"), int(port))
        self._answered_s = time.monotonic()

    def loss(self) -> str | None:
        """Connect to it; say so if no connection was possible for too long.

        The kernel accepts a connection, however busy the server is.
        """
        now_s = time.monotonic()
        try:
            socket.create_connection(self._address, timeout=_TIMEOUT_S).close()
            self._answered_s = now_s
        except OSError as error:
            if (silent_s := now_s - self._answered_s) >= patience_s():
                reason = error.strerror or str(error)
                return f"the cluster's head has not answered for {silent_s:.0f} s ({reason})"
        return None


def patience_s() -> float:
    """Return for how many seconds a head may be silent before a search stops."""
    variable, default_s = _RAYS_PATIENCE
    try:
        rays_s = float(os.environ.get(variable, default_s))
    except ValueError:  # which Ray refuses
        rays_s = default_s
    return max(rays_s - _TO_STOP_S, rays_s / 2)
