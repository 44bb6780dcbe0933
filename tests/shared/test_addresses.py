"""The address of a client is found behind proxies, and is hashed so that one client has one hash."""

import pytest

from shared.addresses import address_hash, client_address


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
        ("2001:db8::1", "2001:0DB8:0:0:1::"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ],
)
def test_addresses_of_one_client_have_the_same_hash(one, other):
    assert address_hash(one, "secret") == address_hash(other, "secret")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("203.0.113.7", "203.0.113.8"),
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8"),
        ("", "testclient"),
    ],
)
def test_addresses_of_different_clients_have_different_hashes(one, other):
    assert address_hash(one, "secret") != address_hash(other, "secret")


def test_the_hash_depends_on_the_secret():
    hashed = address_hash("203.0.113.7", "secret")
    assert len(hashed) == 64
    assert hashed != address_hash("203.0.113.7", "another")


def scope(*forwarded):
    return {"client": ("198.51.100.1", 0), "headers": [(b"x-forwarded-for", value) for value in forwarded]}


def test_without_proxies_x_forwarded_for_is_ignored():
    assert client_address(scope(b"203.0.113.7, 192.0.2.1"), 0) == "198.51.100.1"


@pytest.mark.parametrize(
    "forwarded",
    [
        (b"203.0.113.7, 192.0.2.1",),
        (b"203.0.113.7,192.0.2.1",),
        (b"203.0.113.7", b"192.0.2.1"),
        (b"10.0.0.1, made up, 203.0.113.7, 192.0.2.1",),
    ],
)
def test_behind_a_proxy_the_client_is_the_address_that_the_proxy_added(forwarded):
    assert client_address(scope(*forwarded), 1) == "203.0.113.7"


def test_a_client_that_bypasses_the_proxy_is_the_address_of_the_connection():
    assert client_address(scope(b"203.0.113.7"), 1) == "198.51.100.1"
