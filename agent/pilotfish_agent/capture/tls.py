"""TLS that ends at the relay: the context of a certificate, and its renewal."""

from __future__ import annotations

import os
import ssl

from pilotfish_agent.capture.control import CaptureUnavailableError

_HOW = "give a PEM chain and its unencrypted key, both readable by the agent's user"


class Certificate:
    """A certificate and key on disk, and the context that shows them.

    Args:
        cert: file of the chain, PEM.
        key: file of the private key; empty: it is in ``cert``.

    Raises:
        CaptureUnavailableError: they cannot be read or do not belong together.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._files = (cert, key or cert)
        self._seen = self._stamps()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.set_alpn_protocols(["http/1.1"])  # what we can frame; the model speaks plaintext behind us
        problem = self._load(self.context)
        if problem is not None:
            raise problem

    def renew(self) -> str | None:
        """Takes new files for the connections to come; what is wrong with them, for people; None: all is well."""
        stamps = self._stamps()
        if stamps == self._seen:
            return None
        problem = self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a pair half written must not harm ours
        if problem is None:
            problem = self._load(self.context)
        if problem is not None:
            return problem.words
        self._seen = stamps
        return None

    def _load(self, context: ssl.SSLContext) -> CaptureUnavailableError | None:
        cert, key = self._files
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except PermissionError as error:
            return CaptureUnavailableError("permission", f"certificate {cert}, key {key}: {error}; {_HOW}")
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            return CaptureUnavailableError("failed", f"certificate {cert}, key {key}: {error}; {_HOW}")
        return None

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        found = []
        for path in self._files:
            try:
                status = os.stat(path)
            except OSError:
                found.append((0, 0))
            else:
                found.append((status.st_ino, status.st_mtime_ns))
        return tuple(found)


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # OpenSSL would ask on a terminal
