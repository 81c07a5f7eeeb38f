"""Checks an AWS signature as AWS does: over the method, path, signed headers and body that arrived.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+/(?P<scope>[^,]+), ?"
    r"SignedHeaders=(?P<signed>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def is_valid(method: str, path: str, headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether the request is the one that was signed with this secret.

    Args:
        headers: Lower-case names.
    """
    found = AUTHORIZATION.fullmatch(headers["authorization"])
    assert found is not None
    signed = found["signed"].split(";")
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in signed]
    request = "\n".join(
        [method, quote(path, safe="/~"), "", *lines, "", found["signed"], _hash(body)]
    )
    date, region, service, end = found["scope"].split("/")
    text = "\n".join(
        ["AWS4-HMAC-SHA256", headers["x-amz-date"], found["scope"], _hash(request.encode())]
    )
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, end):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex() == found["signature"]


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
