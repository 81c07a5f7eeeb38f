"""The owner's own proxy that Tollkeeper goes through, and its credentials.

They are read at each use, as provider keys are, and put in below the flow, so that no option, view, log
or record holds them.
"""

from __future__ import annotations

import base64
import logging

from mitmproxy import http

from tollkeeper.proxy.layers import Dress
from tollkeeper.proxy.outgoing import MissingKeyError, read_key
from tollkeeper.proxy.quick import twin
from tollkeeper.proxy.station import Station

log = logging.getLogger(__name__)

HEADER = "proxy-authorization"


class Upstream:
    """Authenticates Tollkeeper to the proxy that the policy names."""

    def __init__(self, station: Station, dress: Dress) -> None:
        """Keep the station and how requests are dressed otherwise."""
        self.station, self.dress_otherwise = station, dress

    def authorization(self) -> str | None:
        """The header's value; None where the policy names no credentials or they cannot be read.

        Without them the upstream proxy refuses, which closes the way and says why.
        """
        source = self.station.policy_file.policy.upstream_credentials
        if source is None or self.station.upstream_proxy is None:
            return None
        try:
            secret = read_key(source)
        except MissingKeyError as error:
            log.warning("The upstream proxy's credentials are missing: %s", error)
            return None
        return "Basic " + base64.b64encode(secret.encode()).decode("ascii")

    def http_connect_upstream(self, flow: http.HTTPFlow) -> None:
        """Put them into a CONNECT; its flow is shown and kept nowhere."""
        value = self.authorization()
        if value is not None:
            flow.request.headers[HEADER] = value

    def dress(self, flow: http.HTTPFlow, request: http.Request) -> http.Request:
        """As otherwise; a plain request to the upstream proxy carries them itself."""
        dressed = self.dress_otherwise(flow, request)
        value = self.authorization() if request.scheme == "http" else None
        if value is None:
            return dressed
        dressed = twin(dressed)
        dressed.data.headers = http.Headers(dressed.data.headers.fields)
        dressed.data.headers[HEADER] = value
        return dressed
