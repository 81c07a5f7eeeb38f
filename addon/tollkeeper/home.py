"""The state folder: where everything lies, and with which rights."""

from __future__ import annotations

import getpass
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from tollkeeper.errors import UsageError


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below ``$TOLLKEEPER_HOME`` (default ``~/.tollkeeper``, mode 0700)."""

    root: Path

    @classmethod
    def default(cls) -> Home:
        """The folder that the environment names."""
        return cls(Path(os.environ.get("TOLLKEEPER_HOME") or Path.home() / ".tollkeeper"))

    @property
    def policy(self) -> Path:
        """The owner's policy: a file, or a folder of files."""
        folder = self.root / "policy"
        return folder if folder.is_dir() else self.root / "policy.yaml"

    @property
    def database(self) -> Path:
        """The ledger."""
        return self.root / "tollkeeper.db"

    @property
    def operator_key(self) -> Path:
        """The secret that seals verdicts; whoever reads it is the operator."""
        return self.root / "operator.key"

    @property
    def metrics_token(self) -> Path:
        """The bearer token of the operator port's figures; it opens nothing else."""
        return self.root / "metrics.token"

    @property
    def ca(self) -> Path:
        """mitmproxy's confdir: our own CA and nothing else."""
        return self.root / "ca"

    @property
    def ca_certificate(self) -> Path:
        """The CA's certificate alone, for clients to trust."""
        return self.ca / "mitmproxy-ca-cert.pem"

    @property
    def bundle(self) -> Path:
        """Public roots and our CA in one file, for clients that replace their roots."""
        return self.ca / "bundle.pem"

    @property
    def log(self) -> Path:
        """The proxy's log file."""
        return self.root / "log" / "proxy.log"

    @property
    def spool(self) -> Path:
        """Records that could not reach the ledger."""
        return self.root / "spool"

    @property
    def process(self) -> Path:
        """``{"pid":…, "port":…, "web":…}`` of the running proxy, one JSON object."""
        return self.root / "proxy.json"

    def exists(self) -> bool:
        """Whether ``init`` has been here."""
        return self.operator_key.exists()

    def make(self) -> None:
        """Make the folders and the operator's key; may be called twice."""
        for folder in (self.root, self.ca, self.log.parent, self.spool):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.operator_key.exists():
            handle = os.open(self.operator_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32) + "\n")

    def read_operator_key(self) -> bytes:
        """The operator's secret.

        Raises:
            UsageError: When there is none yet.
        """
        try:
            return bytes.fromhex(self.operator_key.read_text().strip())
        except FileNotFoundError as e:
            raise UsageError(f"No state in {self.root}: run `tollkeeper init` first.") from e
        except ValueError as e:
            raise UsageError(f"{self.operator_key} is damaged: expected 64 hex digits.") from e


def is_private(path: Path) -> bool:
    """Whether it is this process' user's, and nobody else may read or write it."""
    found = path.stat()
    return not stat.S_IMODE(found.st_mode) & 0o077 and found.st_uid == os.getuid()


def operator_name() -> str:
    """Who acts with the operator's key, for the record: the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
