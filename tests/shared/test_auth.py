import asyncio
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from shared.auth import Identity, TokenVerifier, derive_user_id, sign
from shared.errors import Unauthorized
from shared.jwks import JwksCache
from shared.secret_sources import StaticSecret
from shared.settings import ConfigError
from tests.shared.identity_provider import (
    NOW,
    SECRET,
    Clock,
    compact,
    ec_key,
    ed_key,
    hs256,
    key_set,
    rsa_key,
)

ALICE = UUID("0197c1a2-5b7e-7c31-9d0a-3f6f4b1e2c55")
HEADER = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"sub": str(ALICE), "exp": NOW + 3600}


def verifier(
    *,
    secret: str | None = SECRET,
    keys: bytes | None = None,
    issuer: str | None = None,
    audience: str | None = None,
    now: float = NOW,
) -> TokenVerifier:
    async def fetch(_: str) -> bytes:
        assert keys is not None
        return keys

    jwks = None if keys is None else JwksCache("https://id.example/jwks", fetch=fetch)
    source = None if secret is None else StaticSecret(secret)
    return TokenVerifier(secret=source, jwks=jwks, issuer=issuer, audience=audience, now=Clock(now))


def verify(authorization: str | None, verify_with: TokenVerifier | None = None) -> Identity:
    return asyncio.run((verify_with or verifier()).verify(authorization))


def refusal(authorization: str | None, verify_with: TokenVerifier | None = None) -> str:
    with pytest.raises(Unauthorized) as refused:
        verify(authorization, verify_with)
    return refused.value.message


def bearer(header: Any = None, claims: Any = None, secret: str | bytes = SECRET) -> str:
    return "Bearer " + compact(header or HEADER, CLAIMS if claims is None else claims, hs256(secret))


def test_a_signed_token_has_its_user():
    token = sign(ALICE, secret=SECRET, now=NOW, lifetime=60, issuer="us", audience="app", is_anonymous=True)
    identity = verify(f"Bearer {token}", verifier(issuer="us", audience="app"))
    assert identity == Identity(user_id=ALICE, subject=str(ALICE), issuer="us", is_anonymous=True)


def test_a_token_is_not_anonymous_and_has_no_issuer_by_default():
    token = sign(ALICE, secret=SECRET, now=NOW, lifetime=60)
    assert verify(f"Bearer {token}") == Identity(ALICE, str(ALICE), None, is_anonymous=False)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_case_insensitive(scheme):
    assert verify(bearer().replace("Bearer", scheme)).user_id == ALICE


@pytest.mark.parametrize("authorization", [None, ""])
def test_a_missing_token_is_reported_as_missing(authorization):
    assert refusal(authorization) == "the token is missing"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer a.b",
        "Bearer a.b.c.d",
        "Bearer ..",
        "Basic YTpi",
        bearer().removeprefix("Bearer "),
        bearer().replace("Bearer ", "Bearer"),
        bearer().replace("Bearer ", "Bearer\t"),
        bearer() + " " + bearer().removeprefix("Bearer "),
        bearer() + ", " + bearer(),
        bearer() + "=",
        bearer() + "\n",
        " " + bearer(),
        bearer() + "é",
        bearer() + "\uff11",
    ],
)
def test_a_header_that_is_not_bearer_and_one_token_is_refused(header):
    assert refusal(header) == "the Authorization header must be Bearer and one token"


def test_a_token_may_have_at_most_8_kibibytes():
    frame = len(bearer(claims={**CLAIMS, "padding": ""})) - len("Bearer ")
    longest = {**CLAIMS, "padding": "x" * ((8192 - frame) * 3 // 4)}
    assert 8188 <= len(bearer(claims=longest)) - len("Bearer ") <= 8192
    assert verify(bearer(claims=longest)).user_id == ALICE
    assert refusal(bearer(claims={**longest, "more": "xxxxxx"})) == "the token is too long"


def test_a_token_signed_with_another_secret_is_refused():
    assert refusal(bearer(secret=SECRET + "!")) == "the token's signature is not valid"


@pytest.mark.parametrize("position", range(3))
def test_a_token_with_a_changed_character_is_refused(position):
    segments = bearer().removeprefix("Bearer ").split(".")
    segments[position] = segments[position][:8] + "_" + segments[position][9:]
    assert "token" in refusal("Bearer " + ".".join(segments))


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "nOnE", "", "HS384", "HS512", "RS256", "PS256", None, 1, []]
)
def test_an_algorithm_without_a_key_is_refused(algorithm):
    assert refusal(bearer({"alg": algorithm})) == "the token is not signed with an accepted key"


def test_an_unsigned_token_is_refused():
    assert refusal("Bearer " + compact({"alg": "none"}, CLAIMS, lambda _: b"\0"))
    assert refusal("Bearer " + compact({"alg": "none"}, CLAIMS, lambda _: b""))


def test_a_token_without_an_algorithm_is_refused():
    assert refusal(bearer({"typ": "JWT"})) == "the token is not signed with an accepted key"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jku", "https://evil.example/jwks"),
        ("jwk", {"kty": "oct", "k": "AA"}),
        ("x5u", "https://evil.example/cert"),
        ("x5c", ["AA"]),
        ("crit", ["exp"]),
        ("crit", ["b64"]),
        ("crit", []),
        ("b64", False),
        ("b64", True),
        ("jku", None),
    ],
)
def test_a_header_with_a_key_or_an_unsupported_extension_is_refused(name, value):
    assert refusal(bearer({**HEADER, name: value}))
    assert refusal(bearer({**HEADER, "b64": True, "crit": ["b64"], name: value}))


@pytest.mark.parametrize("typ", ["logout+jwt", "secevent+jwt", "dpop+jwt", "JWE", "", 1, None])
def test_a_token_of_another_type_is_refused(typ):
    assert refusal(bearer({**HEADER, "typ": typ})) == "the token's type is not accepted"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_an_access_token_may_name_its_type(typ):
    assert verify(bearer({**HEADER, "typ": typ})).user_id == ALICE


@pytest.mark.parametrize("header", [b"[]", b"1", b"{", b"\xff", b"[" * 3000, b'{"alg":"HS256","kid":1}'])
def test_a_malformed_header_is_refused(header):
    assert refusal(bearer(header)) == "the token is malformed"


@pytest.mark.parametrize("kind", ["PEM", "DER", "JWK"])
def test_a_public_key_is_refused_as_a_secret(kind):
    public = rsa_key().private.public_key()
    material = {
        "PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "JWK": json.dumps(rsa_key().jwk).encode(),
    }[kind]
    confused = bearer({"alg": "HS256", "kid": "rsa"}, secret=material)
    assert refusal(confused, verifier(secret=None, keys=key_set(rsa_key())))
    assert refusal(confused, verifier(keys=key_set(rsa_key())))
    if kind != "DER":  # DER is not text
        with pytest.raises(ConfigError, match="JWT_SECRET must not be a public key"):
            verifier(secret=material.decode())


@pytest.mark.parametrize("secret", ["", "secret", "x" * 31])
def test_a_short_secret_is_refused_at_the_start(secret):
    with pytest.raises(ConfigError, match="JWT_SECRET must be at least 32 bytes"):
        verifier(secret=secret)
    with pytest.raises(ConfigError, match="JWT_SECRET must be at least 32 bytes"):
        sign(ALICE, secret=secret, now=NOW, lifetime=60)


@pytest.mark.parametrize("key", [rsa_key(), ec_key(), ed_key()], ids=lambda key: key.algorithm)
def test_tokens_of_the_secret_and_of_a_key_set_are_both_accepted(key):
    verify_with = verifier(keys=key_set(rsa_key(), ec_key(), ed_key()), issuer="https://id.example/")
    identity = verify(key.bearer(iss="https://id.example/"), verify_with)
    assert identity.subject == "auth0|alice"
    assert verify(bearer(claims={**CLAIMS, "iss": "https://id.example/"}), verify_with).user_id == ALICE


@pytest.mark.parametrize("key", [rsa_key(), ec_key(), ed_key()], ids=lambda key: key.algorithm)
@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA", "HS256", "none"])
def test_a_key_is_only_used_with_its_own_algorithm(key, algorithm):
    token = key.bearer({"alg": algorithm, "kid": key.kid})
    with_keys = verifier(keys=key_set(rsa_key(), ec_key(), ed_key()))
    if algorithm == key.algorithm:
        assert verify(token, with_keys)
    else:
        assert refusal(token, with_keys)


def test_without_a_secret_and_a_key_set_all_tokens_are_refused():
    assert refusal(bearer(), verifier(secret=None))
    assert refusal(rsa_key().bearer(), verifier(secret=None))


@pytest.mark.parametrize(
    "claims",
    [
        b"{}",
        b"null",
        b"[]",
        b"\xff",
        b"[" * 3000,
        b'{"sub":"a","exp":1800003600,"x":' + b"[" * 3000,
        b'{"sub":"a","exp":NaN}',
        b'{"sub":"a","exp":Infinity}',
        b'{"sub":"a","exp":1e308}',
        b'{"sub":"a","exp":1e999}',
        b'{"sub":"a","exp":' + b"9" * 5000 + b"}",
        b'{"sub":"\\ud800","exp":1800003600}',
        {"sub": "a"},
        {"exp": NOW + 1},
        {"sub": "a", "exp": None},
        {"sub": "a", "exp": True},
        {"sub": "a", "exp": "1800003600"},
        {"sub": "a", "exp": [NOW + 1]},
        {"sub": "a", "exp": -1},
        {"sub": "a", "exp": 253_402_300_800},
        {"sub": "", "exp": NOW + 1},
        {"sub": "a" * 256, "exp": NOW + 1},
        {"sub": 7, "exp": NOW + 1},
        {"sub": None, "exp": NOW + 1},
        {"sub": "a", "exp": NOW + 1, "nbf": "0"},
        {"sub": "a", "exp": NOW + 1, "iat": False},
        {"sub": "a", "exp": NOW + 1, "iss": ["us"]},
        {"sub": "a", "exp": NOW + 1, "aud": {"app": 1}},
        {"sub": "a", "exp": NOW + 1, "aud": ["app", 1]},
    ],
)
def test_a_missing_or_malformed_claim_is_refused(claims):
    assert refusal(bearer(claims=claims)) == "a claim of the token is missing or malformed"


def test_a_subject_may_have_255_characters():
    assert verify(bearer(claims={"sub": "é" * 255, "exp": NOW + 1})).subject == "é" * 255


@pytest.mark.parametrize("exp", [NOW + 0.5, NOW + 1, int(NOW) + 1, 253_402_300_799])
def test_a_token_is_valid_before_its_end(exp):
    assert verify(bearer(claims={"sub": "a", "exp": exp}))


@pytest.mark.parametrize("exp", [NOW, NOW - 0.5, int(NOW) - 1, 0])
def test_a_token_has_expired_at_its_end(exp):
    assert refusal(bearer(claims={"sub": "a", "exp": exp})) == "the token has expired"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_the_clock_of_an_issuer_may_be_at_most_30_seconds_ahead(claim):
    assert verify(bearer(claims={**CLAIMS, claim: NOW + 30})).user_id == ALICE
    assert refusal(bearer(claims={**CLAIMS, claim: NOW + 31})) == "the token is not valid yet"


def test_a_token_that_was_accepted_before_can_expire():
    clock = Clock()
    verify_with = TokenVerifier(secret=StaticSecret(SECRET), jwks=None, issuer=None, audience=None, now=clock)
    token = bearer(claims={**CLAIMS, "exp": NOW + 5})
    assert verify(token, verify_with).user_id == ALICE
    clock.now += 5
    assert refusal(token, verify_with) == "the token has expired"


def test_a_token_is_refused_after_the_key_set_is_fetched_without_its_key():
    clock, keys = Clock(), [rsa_key("old")]

    async def fetch(_: str) -> bytes:
        return key_set(*keys)

    jwks = JwksCache("https://id.example/jwks", fetch=fetch, now=clock)
    verify_with = TokenVerifier(secret=None, jwks=jwks, issuer=None, audience=None, now=clock)
    token = keys[0].bearer(sub=str(ALICE), exp=NOW + 86_400)
    assert verify(token, verify_with).user_id == ALICE
    keys[:] = [rsa_key("new")]
    clock.now += 59
    assert verify(token, verify_with).user_id == ALICE
    clock.now += 7200  # The key set is old now and is fetched again.
    assert refusal(token, verify_with) == "the token is not signed with an accepted key"


def test_the_cache_of_tokens_keeps_users_apart():
    verify_with = verifier()
    for number in range(1500):
        user_id = UUID(int=number + 1)
        assert verify(bearer(claims={**CLAIMS, "sub": str(user_id)}), verify_with).user_id == user_id
    forged = bearer(secret="another secret of 32 bytes or more")
    assert refusal(forged, verify_with) == "the token's signature is not valid"


@pytest.mark.parametrize(
    "iss",
    [
        "https://id.example",
        "https://id.example/x",
        "HTTPS://ID.EXAMPLE/",
        "h",
        "https://id.example/ ",
        "",
        None,
    ],
)
def test_the_whole_issuer_is_compared(iss):
    token = bearer(claims={**CLAIMS, "iss": iss})
    assert refusal(token, verifier(issuer="https://id.example/")) == "the token is from another issuer"


def test_a_token_without_the_required_issuer_is_refused():
    assert refusal(bearer(), verifier(issuer="https://id.example/")) == "the token is from another issuer"


@pytest.mark.parametrize("aud", ["app", ["app"], ["other", "app"]])
def test_the_audience_may_be_a_string_or_a_list(aud):
    assert verify(bearer(claims={**CLAIMS, "aud": aud}), verifier(audience="app")).user_id == ALICE


@pytest.mark.parametrize("aud", ["an app", "ap", "", [], ["an app"], None])
def test_another_audience_is_refused(aud):
    token = bearer(claims={**CLAIMS, "aud": aud})
    assert refusal(token, verifier(audience="app")) == "the token is for another audience"


def test_a_token_without_the_required_audience_is_refused():
    assert refusal(bearer(), verifier(audience="app")) == "the token is for another audience"


def test_without_a_required_audience_any_audience_is_accepted():
    assert verify(bearer(claims={**CLAIMS, "aud": "anything"})).user_id == ALICE


@pytest.mark.parametrize("value", [False, None, 1, "true", "yes", [True], {}])
def test_only_true_makes_a_user_anonymous(value):
    assert not verify(bearer(claims={**CLAIMS, "is_anonymous": value})).is_anonymous
    assert verify(bearer(claims={**CLAIMS, "is_anonymous": True})).is_anonymous


def test_a_subject_that_is_a_uuid_is_the_user_id_in_any_case():
    assert derive_user_id("https://id.example/", str(ALICE).upper()) == ALICE


@pytest.mark.parametrize(
    "subject", [f"{{{ALICE}}}", f"urn:uuid:{ALICE}", ALICE.hex, f"{ALICE}\n", f" {ALICE}"]
)
def test_other_spellings_of_a_uuid_are_other_users(subject):
    assert derive_user_id(None, subject) != ALICE
    assert derive_user_id(None, subject).version == 5


def test_other_subjects_map_to_fixed_uuids():
    assert derive_user_id("https://id.example/", "auth0|alice") == UUID(
        "8eee9e32-7c77-5d10-a861-0174e8cdef52"
    )


def test_issuer_and_subject_are_separated():
    pairs: list[tuple[str | None, str]]
    pairs = [
        ("a", "bc"),
        ("ab", "c"),
        ("", "abc"),
        (None, "abc"),
        ('a", "b', "c"),
        ("a", 'b", "c'),
        ("null", "abc"),
    ]
    assert len({derive_user_id(*pair) for pair in pairs}) == len(pairs)


def test_an_hs256_token_is_verified_without_importing_the_http_client():
    script = (
        "import asyncio, sys, time, uuid\n"
        "from shared.auth import TokenVerifier, sign\n"
        "from shared.secret_sources import StaticSecret\n"
        "token = sign(uuid.uuid4(), secret='x' * 32, now=time.time(), lifetime=60)\n"
        "verifier = TokenVerifier(secret=StaticSecret('x' * 32), jwks=None, issuer=None, audience=None)\n"
        "asyncio.run(verifier.verify('Bearer ' + token))\n"
        "print('httpx' in sys.modules)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ALGORITHMS = st.sampled_from(["HS256", "RS256", "ES256", "EdDSA", "none"]) | JSON
HEADERS = st.fixed_dictionaries(
    {"alg": ALGORITHMS}, optional={"kid": st.sampled_from(["rsa", "ec", "ed"]) | JSON, "typ": JSON}
)
EVERYTHING = verifier(keys=key_set(rsa_key(), ec_key(), ed_key()))


@given(st.text() | st.text().map("Bearer ".__add__) | st.from_regex(r"(?i)bearer [\w-]*\.[\w-]*\.[\w-]*"))
def test_any_malformed_header_is_refused(header):
    with pytest.raises(Unauthorized):
        verify(header, EVERYTHING)


@given(HEADERS | JSON, JSON | st.binary(), st.binary() | st.binary(min_size=64, max_size=64))
def test_a_token_with_a_wrong_signature_is_refused(header, claims, signature):
    with pytest.raises(Unauthorized):
        verify("Bearer " + compact(header, claims, lambda _: signature), EVERYTHING)


@given(
    st.dictionaries(st.text(), JSON, max_size=3),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("sub", "exp", "nbf", "iat", "iss", "aud", "is_anonymous"), JSON)
    ),
)
def test_signed_claims_of_any_shape_give_a_caller_or_are_refused(header, claims):
    try:
        identity = verify(bearer({**header, **HEADER}, claims), EVERYTHING)
    except Unauthorized:
        return
    assert identity.subject == claims["sub"]
    assert claims["exp"] > NOW
    assert math.isfinite(claims["exp"])
