"""An issuer of JWTs that makes good ones and, bit by bit, bad ones: nothing here asks whether a token makes sense."""

import base64
import hashlib
import hmac
import json
import time
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER, AUDIENCE, SUBJECT = "https://users.example.com", "ticker", "user-7"


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@cache
def rsa_key(number: int, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The same key for the same number, in one run of the tests."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def rsa_jwk(key: rsa.RSAPrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    n = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
    return {"kty": "RSA", "kid": kid, "use": "sig", "n": b64(n), "e": "AQAB", **more}


def ec_jwk(kid: str, **more: Any) -> dict[str, Any]:
    numbers = ec_key().public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "kid": kid,
        "x": b64(numbers.x.to_bytes(32, "big")),
        "y": b64(numbers.y.to_bytes(32, "big")),
        **more,
    }


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def header(**changes: Any) -> dict[str, Any]:
    return without_none({"alg": "RS256", "kid": "k1", "typ": "at+jwt"} | changes)


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": SUBJECT,
        "iat": now - 5,
        "exp": now + 600,
        "scope": "ticker:read ticker:stream",
    }
    return without_none(good | changes)


def without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def sign_rs256(signed: bytes, key: rsa.RSAPrivateKey | None = None) -> bytes:
    return (key or rsa_key(1)).sign(signed, padding.PKCS1v15(), hashes.SHA256())


def sign_ps256(signed: bytes) -> bytes:
    return rsa_key(1).sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def sign_es256(signed: bytes) -> bytes:
    r, s = decode_dss_signature(ec_key().sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign_hs256(signed: bytes, secret: bytes) -> bytes:
    return hmac.new(secret, signed, hashlib.sha256).digest()


def token(
    head: dict[str, Any] | bytes | None = None, body: dict[str, Any] | bytes | None = None, sign: Any = sign_rs256
) -> str:
    """A token of this header and these claims; bytes stand for themselves, and `sign` makes the signature."""
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head or header(), body or claims())
    ]
    signed = ".".join(map(b64, parts)).encode()
    return f"{signed.decode()}.{b64(sign(signed))}"
