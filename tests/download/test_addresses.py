import pytest

from scanner.core.download_config import host_and_port
from scanner.core.errors import ConfigError
from scanner.download.addresses import AddressPolicy


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.9.1", "loopback"),
        ("::1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fd00:ec2::254", "private"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("100.64.0.1", "not public"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", ""),
        ("240.0.0.1", ""),
        ("192.0.2.1", ""),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("::ffff:169.254.169.254", "link-local"),
        ("64:ff9b::a00:1", "private"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("2002:a00:1::", "private"),
        ("2001:0:0:0:0:0:f5ff:fffe", "private"),  # Teredo: 10.0.0.1, its bits turned over
    ],
)
def test_what_is_not_public_is_refused_and_named(address, kind):
    refusal = AddressPolicy().refusal("some.example", address, 80)
    assert refusal is not None
    assert kind in refusal


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_may_be_reached(address):
    assert AddressPolicy().refusal("some.example", address, 443) is None


def test_what_is_no_address_is_refused():
    assert "no address" in (AddressPolicy().refusal("x", "127.0.0.1.nip.io", 80) or "")


def test_an_allowed_address_is_allowed_at_its_port_only():
    policy = AddressPolicy(allowed=frozenset({("127.0.0.1", 8000), ("mirror.internal", 80)}))
    assert policy.refusal("127.0.0.1", "127.0.0.1", 8000) is None
    assert policy.refusal("localhost", "127.0.0.1", 8000) is None
    assert policy.refusal("Mirror.internal", "10.0.0.7", 80) is None
    assert policy.refusal("127.0.0.1", "127.0.0.1", 8001) is not None
    assert policy.refusal("other.internal", "10.0.0.7", 80) is not None


@pytest.mark.parametrize(("text", "found"), [("A.example:80", ("a.example", 80)), ("[::1]:9000", ("::1", 9000))])
def test_addresses_are_read(text, found):
    assert host_and_port(text) == found


@pytest.mark.parametrize("text", ["", "host", ":80", "host:", "host:port", "host:0", "host:70000"])
def test_what_is_no_host_and_port_is_said(text):
    with pytest.raises(ConfigError, match="no HOST:PORT"):
        host_and_port(text)
