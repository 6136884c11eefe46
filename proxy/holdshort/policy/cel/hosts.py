"""Hosts as text: of a URL, in a domain, in a network. Nothing is looked up.

Programs disagree about odd URLs (userinfo, backslashes, `0x7f.1`, percent-encoded or non-ASCII hosts), and a rule must
speak about the host that is going to be asked. So only what every reader takes the same way is accepted; the rest is
refused, and the condition fails: an error never helps a call.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from holdshort.policy.cel.values import ConditionFailed

__all__ = ["MAX_URL", "Network", "host", "in_cidr", "in_domain", "is_ip", "parse_cidr", "parse_domain"]

MAX_URL: Final = 8192
"""Characters of one URL."""

Network = IPv4Network | IPv6Network

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([/?#].*)?", re.DOTALL)
_HOSTLESS: Final = frozenset({"about", "blob", "data", "file", "jar", "javascript", "vbscript", "view-source"})
"""Schemes that open something else than the host they seem to name: a file of this machine, a script, another URL."""
_LATE_HOST: Final = re.compile(r"[?#][^/]*[@\\]")
"""What an older reader, which ends a host at nothing but a slash, takes for user information and then a host."""
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_CONTROLS: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")
_INNER_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMERIC: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
_MAX_PORT: Final = 65535
_MAX_NAME: Final = 253


def host(url: str) -> str:
    """Return the host of `url` in lower case, without port, brackets and trailing dot.

    Raises:
        ConditionFailed: this is no URL with `://` and a host, or programs disagree about which host it is.
    """
    if len(url) > MAX_URL:
        raise ConditionFailed(f"a URL has more than {MAX_URL} characters")
    if _INNER_CONTROLS.search(url) or url != url.strip():
        raise ConditionFailed("a URL has a control character, or a space at an end")
    found = _URL.fullmatch(url)
    if found is None:
        raise ConditionFailed("a text is no URL with `://`")
    scheme, authority, rest = found.groups()
    if scheme.lower() in _HOSTLESS:
        raise ConditionFailed("a URL has a scheme that does not reach the host it names")
    if rest and _LATE_HOST.match(rest):
        raise ConditionFailed("a URL has `@` or a backslash behind its host, and some programs read another host there")
    return _host_of(authority)


def in_domain(url_or_host: str, domain: str) -> bool:
    """Say whether the host is `domain` or one of its subdomains; an IP address is in no domain.

    Raises:
        ConditionFailed: as `host`; or `domain` is no name.
    """
    name = host(url_or_host) if "://" in url_or_host else _host_of(url_or_host)
    parent = parse_domain(domain)
    return not is_ip(name) and (name == parent or name.endswith(f".{parent}"))


def is_ip(text: str) -> bool:
    """Say whether `text` is an IP address rather than a host's name.

    Raises:
        ConditionFailed: it is neither, or an address in a form that programs read differently.
    """
    return _address_of(text) is not None


def in_cidr(address: str, cidr: str) -> bool:
    """Say whether `address` is in the network `cidr`; an IPv4 address inside an IPv6 one counts as itself.

    Raises:
        ConditionFailed: this is no IP address, or `cidr` is no network.
    """
    try:
        network = parse_cidr(cidr)
    except ConditionFailed:
        # Written out, it was tried when the condition was read: this one is an argument, and is not quoted.
        raise ConditionFailed("an argument is no network such as `10.0.0.0/8`") from None
    found = _address_of(address)
    if found is None:
        raise ConditionFailed("a text is no IP address; ask `is_ip` first")
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif network.version == 4 and _carries_ipv4(found):
            raise ConditionFailed("an IPv6 address carries an IPv4 address inside, which some networks unpack")
    return found.version == network.version and found in network


def parse_domain(domain: str) -> str:
    """Return a domain in lower case, without a trailing dot.

    Raises:
        ConditionFailed: it is no name of a domain.
    """
    if domain.startswith(("*.", ".")):
        raise ConditionFailed("a domain covers its subdomains; leave out what stands before its first letter")
    name = _name_of(domain)
    if name is None:
        raise ConditionFailed("a domain is a name, not an address")
    return name


def parse_cidr(cidr: str) -> Network:
    """Return the network. Errors quote `cidr`, which therefore has to come from a policy.

    Raises:
        ConditionFailed: it is no network such as `10.0.0.0/8` or `fd00::/8`, or its address has bits beyond the prefix.
    """
    if "/" not in cidr:
        raise ConditionFailed("a network has a prefix, as in `10.0.0.0/8`; one address is `192.0.2.1/32`")
    try:
        network = ip_network(cidr)
    except ValueError:
        try:
            wider = ip_network(cidr, strict=False)
        except ValueError:
            raise ConditionFailed("a text is no network such as `10.0.0.0/8`") from None
        raise ConditionFailed(f"the network's address has bits beyond its prefix; did you mean `{wider}`?") from None
    if re.search(r"/\D|/0\d|/.*\.", cidr):
        raise ConditionFailed("a network's prefix is a number, as in `10.0.0.0/8`")
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None and network.prefixlen > 0:
        raise ConditionFailed("write an IPv4 network as itself, as in `10.0.0.0/8`")
    return network


def _host_of(authority: str) -> str:
    if "@" in authority:
        raise ConditionFailed("a URL has user information before its host, which is how hosts are disguised")
    if "\\" in authority or "%" in authority or _CONTROLS.search(authority):
        raise ConditionFailed("a host has a backslash, a percent sign, a space or a control character")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise ConditionFailed("a text is no host with or without a port")
    name, port = found.groups()
    if port and int(port[:8]) > _MAX_PORT:
        raise ConditionFailed("a port is out of range")
    if name.startswith("["):
        address = _address_of(name[1:-1])
        if not isinstance(address, IPv6Address):
            raise ConditionFailed("brackets hold an IPv6 address")
        return str(address)
    address = _address_of(name)
    return str(address) if address is not None else str(_name_of(name))


def _address_of(text: str) -> IPv4Address | IPv6Address | None:
    if ":" in text:
        if "%" in text:
            raise ConditionFailed("an IPv6 address has a zone")
        try:
            return ip_address(text)
        except ValueError:
            raise ConditionFailed("a text is no IPv6 address") from None
    return ip_address(text) if _name_of(text) is None else None


def _name_of(text: str) -> str | None:
    """Return the host's name in lower case, or None for an IPv4 address in its usual form."""
    if not text.isascii():
        raise ConditionFailed("a host has letters beyond ASCII; programs differ on them, write it in punycode (`xn--`)")
    name = text.removesuffix(".").lower()
    labels = name.split(".")
    if not name or len(name) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConditionFailed("a text is no name of a host")
    if not _NUMERIC.fullmatch(labels[-1]):
        return name
    # A last label of digits makes every browser read an IPv4 address, in whatever base; we take the one usual form.
    try:
        ip_address(text)
    except ValueError:
        raise ConditionFailed("an IPv4 address is written in an unusual form") from None
    return None


def _carries_ipv4(address: IPv6Address) -> bool:
    return (
        address.sixtofour is not None
        or address.teredo is not None
        or any(address in network for network in _NAT64)
        or (address in _COMPATIBLE and int(address) > 1)
        or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
    )
