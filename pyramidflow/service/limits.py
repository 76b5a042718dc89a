"""How often and how much one address may ask."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_address
from threading import Lock
from time import monotonic
from typing import Final

_MOST_ADDRESSES: Final = 10_000


def network_of(address: str) -> str:
    """What one asker has for his own: an address of IPv4, and of IPv6 the first 64 bits."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv4Address):
        return address
    mapped = found.ipv4_mapped
    return str(mapped) if mapped else str(IPv6Network((int(found) >> 64 << 64, 64)))


class Rate:
    """A bucket for each asker, which fills evenly and holds what a minute gives.

    Args:
        per_minute: requests.
        clock: in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, address: str) -> float:
        """Take one request's share.

        Args:
            address: that asks.

        Returns:
            0, or the seconds after which the next one may come.
        """
        return self._change(address, 1.0)

    def wait(self, address: str) -> float:
        """As :meth:`take`, without taking."""
        return self._change(address, 0.0)

    def _change(self, address: str, cost: float) -> float:
        address = network_of(address)
        now = self._clock()
        with self._lock:
            left, then = self._left.pop(address, (self._most, now))
            left = min(self._most, left + (now - then) * self._most / 60)
            wait = 0.0 if left >= 1 else (1 - left) * 60 / self._most
            self._left[address] = (left - cost if wait == 0 else left, now)
            while len(self._left) > _MOST_ADDRESSES:
                self._left.popitem(last=False)
        return wait


@dataclass(frozen=True)
class Limits:
    """What one address may ask of the service.

    Attributes:
        requests: rate of all requests but pictures.
        inspections: rate of pictures.
        most_upload_bytes: size of a picture's file.
    """

    requests: Rate
    inspections: Rate
    most_upload_bytes: int
