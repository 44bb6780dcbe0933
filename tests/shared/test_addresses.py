"""An address counts as the client it stands for, and cannot be read from what is kept of it."""

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
def test_what_one_client_can_call_itself_is_one(one, other):
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
def test_different_clients_are_different(one, other):
    assert address_hash(one, "secret") != address_hash(other, "secret")


def test_it_is_nothing_without_the_secret():
    kept = address_hash("203.0.113.7", "secret")
    assert len(kept) == 64
    assert kept != address_hash("203.0.113.7", "another")


def scope(*forwarded):
    return {"client": ("198.51.100.1", 0), "headers": [(b"x-forwarded-for", value) for value in forwarded]}


def test_without_proxies_no_header_is_believed():
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
def test_behind_a_proxy_the_client_is_whom_the_proxy_saw(forwarded):
    assert client_address(scope(*forwarded), 1) == "203.0.113.7"


def test_who_came_past_the_proxy_is_whom_the_front_door_saw():
    assert client_address(scope(b"203.0.113.7"), 1) == "198.51.100.1"
