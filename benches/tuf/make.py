"""Makes a TUF repository of images as python-tuf writes it: make.py COUNT FOLDER [BITS].

ECDSA P-256, consistent snapshots, indented JSON. The digest of an image is the SHA-256 of its number. With BITS, the names are in
2**BITS hash bins (succinct roles), for which the top-level targets role delegates to one key.
"""

import hashlib
import pathlib
import sys
from datetime import datetime, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Delegations, Metadata, MetaFile, Root, Snapshot, SuccinctRoles, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

EXPIRES = datetime(2040, 1, 1, tzinfo=timezone.utc)


def main(count: int, folder: pathlib.Path, bits: int) -> None:
    folder.mkdir(parents=True)
    signers = {role: CryptoSigner.generate_ecdsa() for role in ("root", "timestamp", "snapshot", "targets", "bins")}
    root = Root(expires=EXPIRES, consistent_snapshot=True)
    for role in ("root", "timestamp", "snapshot", "targets"):
        root.add_key(signers[role].public_key, role)
    targets, bins = Targets(expires=EXPIRES), {}
    if bits:
        key = signers["bins"].public_key
        delegated = SuccinctRoles([key.keyid], 1, bits, "bin")
        targets.delegations = Delegations({key.keyid: key}, succinct_roles=delegated)
        bins = {name: Targets(expires=EXPIRES) for name in delegated.get_roles()}
    for number in range(count):
        path = f"registry.example:5000/team{number % 97:02}/app{number // 10}:1.{number % 10}"
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        role = bins[delegated.get_role_for_target(path)] if bits else targets
        role.targets[path] = TargetFile(1234 + number % 1000, {"sha256": digest}, path)
    meta = {f"{name}.json": MetaFile(1) for name in ("targets", *bins)}
    files = {
        "1.root.json": ("root", root),
        "1.targets.json": ("targets", targets),
        **{f"1.{name}.json": ("bins", role) for name, role in bins.items()},
        "1.snapshot.json": ("snapshot", Snapshot(expires=EXPIRES, meta=meta)),
        "timestamp.json": ("timestamp", Timestamp(expires=EXPIRES, snapshot_meta=MetaFile(1))),
    }
    for name, (role, signed) in files.items():
        metadata = Metadata(signed)
        metadata.sign(signers[role])
        (folder / name).write_bytes(metadata.to_bytes(JSONSerializer(compact=False)))


main(int(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
