"""Makes a TUF repository of images as python-tuf writes it: make.py COUNT FOLDER.

ECDSA P-256, consistent snapshots, indented JSON. The digest of an image is the SHA-256 of its number.
"""

import hashlib
import pathlib
import sys
from datetime import datetime, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

EXPIRES = datetime(2040, 1, 1, tzinfo=timezone.utc)


def main(count: int, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)
    signers = {role: CryptoSigner.generate_ecdsa() for role in ("root", "timestamp", "snapshot", "targets")}
    root = Root(expires=EXPIRES, consistent_snapshot=True)
    for role, signer in signers.items():
        root.add_key(signer.public_key, role)
    targets = Targets(expires=EXPIRES)
    for number in range(count):
        path = f"registry.example:5000/team{number % 97:02}/app{number // 10}:1.{number % 10}"
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        targets.targets[path] = TargetFile(1234 + number % 1000, {"sha256": digest}, path)
    files = {
        "1.root.json": ("root", root),
        "1.targets.json": ("targets", targets),
        "1.snapshot.json": ("snapshot", Snapshot(expires=EXPIRES, meta={"targets.json": MetaFile(1)})),
        "timestamp.json": ("timestamp", Timestamp(expires=EXPIRES, snapshot_meta=MetaFile(1))),
    }
    for name, (role, signed) in files.items():
        metadata = Metadata(signed)
        metadata.sign(signers[role])
        (folder / name).write_bytes(metadata.to_bytes(JSONSerializer(compact=False)))


main(int(sys.argv[1]), pathlib.Path(sys.argv[2]))
