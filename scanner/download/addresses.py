"""Which addresses may be reached: public ones, and those that the user names. A list of URLs is somebody else's.

A URL, or a redirect behind it, may name what only this machine sees: its own services, the local network, the metadata service
of a cloud (server-side request forgery). A name is resolved once, each address it stands for is judged, and the connection is
made to an address that was judged, so that a second answer of the name server changes nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


@dataclass(frozen=True, kw_only=True, slots=True)
class AddressPolicy:
    """Attributes:
    allowed: pairs of host (a name or address, in lower case) and port that may be reached whatever they are.
    """

    allowed: frozenset[tuple[str, int]] = frozenset()

    def refusal(self, host: str, address: str, port: int) -> str | None:
        """Why an address that a host was resolved to must not be reached; None if it may be."""
        if {(host.lower(), port), (address.lower(), port)} & self.allowed:
            return None
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return f"{address} is no address"
        kind = kind_of(parsed)
        return None if kind == "public" else f"{parsed} is {kind}"


def kind_of(address: Address) -> str:
    """``public``, or in a word what else: ``private``, ``loopback``, ``link-local`` ...; of an address that carries another one
    inside (IPv4 in IPv6, NAT64, 6to4, Teredo) the one inside counts too."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = _inside(address)
        if inside is not None and (kind := kind_of(inside)) != "public":
            return kind
        if address.ipv4_mapped is not None or any(address in network for network in _NAT64):
            return "public"  # ways to write the one inside
    for kind, is_so in (
        ("unspecified", address.is_unspecified),
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("private", address.is_private),
        ("reserved", address.is_reserved),
    ):
        if is_so:
            return kind
    return "public" if address.is_global else "not public"


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return None
