"""One certificate for all servers of a run, signed by an authority of its own."""

from pathlib import Path

import trustme

from tests.servers.workplace import Workplace


class Certificate:
    """Files in PEM: `authority` (what clients trust), `chain` and `key` (what servers show).

    Valid for localhost, 127.0.0.1 and mx.library.example.
    """

    def __init__(self) -> None:
        self._workplace = Workplace("tls")
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1", "mx.library.example")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        self.authority: Path = self._workplace.write("authority.pem", authority.cert_pem.bytes())
        self.chain: Path = self._workplace.write("chain.pem", chain)
        self.key: Path = self._workplace.write("key.pem", issued.private_key_pem.bytes(), mode=0o600)

    def close(self) -> None:
        """Removes the files."""
        self._workplace.close()
