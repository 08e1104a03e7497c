"""Repositories that python-tuf makes, as `rootpin verify` judges them and `rootpin repo` goes on with them: python_tuf.py ROOTPIN.
`tests/run` starts this.

Each has the shape of something that is in use: keys of every kind, delegations by patterns and by hash prefixes, hash bins, roles of
names that no file can have, files with and without versions in their names, and metadata that is over.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.parse
from datetime import datetime, timedelta, timezone

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

ROOTPIN = sys.argv[1]
REGISTRY = "registry.example:5000"
NOW = datetime.now(timezone.utc).replace(microsecond=0)
SOON, PAST = NOW + timedelta(days=7), NOW - timedelta(seconds=1)
KINDS = {
    "ecdsa": CryptoSigner.generate_ecdsa,
    "ed25519": CryptoSigner.generate_ed25519,
    "rsa-pss": lambda: CryptoSigner.generate_rsa(scheme="rsassa-pss-sha256"),
}


def digest(content):
    return hashlib.sha256(content.encode()).hexdigest()


def targets(names, expires=SOON):
    """A targets role that names images, each by the text that stands for its manifest."""
    signed = Targets(expires=expires)
    for name, content in names.items():
        path = f"{REGISTRY}/{name}"
        signed.targets[path] = TargetFile(len(content), {"sha256": digest(content), "sha512": "00" * 64}, path)
    return signed


class Repository:
    """What python-tuf writes, and what is expected of it."""

    def __init__(self, folder, kinds, consistent=True, compact=False, hashes=True, top=None):
        self.folder, self.consistent, self.hashes = folder, consistent, hashes
        self.serializer = JSONSerializer(compact=compact)
        folder.mkdir()
        names = ("root", "timestamp", "snapshot", "targets")
        self.signers = {name: [KINDS[kind]()] for name, kind in zip(names, kinds)}
        self.signers["root"].append(CryptoSigner.generate_ecdsa())
        self.roles = {"targets": top}
        self.root = Root(expires=SOON, consistent_snapshot=consistent)
        for name, signers in self.signers.items():
            for signer in signers:
                self.root.add_key(signer.public_key, name)
        self.root.roles["root"].threshold = 2

    def delegate(self, name, kind, signed, **options):
        """Delegates from the top-level targets to a role; `options` are those of a DelegatedRole."""
        signer = KINDS[kind]()
        top = self.roles["targets"]
        if top.delegations is None:
            top.delegations = Delegations({}, {})
        top.delegations.keys[signer.public_key.keyid] = signer.public_key
        top.delegations.roles[name] = DelegatedRole(name, [signer.public_key.keyid], 1, **options)
        self.signers[name], self.roles[name] = [signer], signed

    def delegate_to_bins(self, bits, names):
        """Parts the names over hash bins."""
        signer = CryptoSigner.generate_ed25519()
        bins = SuccinctRoles([signer.public_key.keyid], 1, bits, "bin")
        self.roles["targets"].delegations = Delegations({signer.public_key.keyid: signer.public_key}, succinct_roles=bins)
        for name in bins.get_roles():
            mine = {image: text for image, text in names.items() if bins.get_role_for_target(f"{REGISTRY}/{image}") == name}
            self.signers[name], self.roles[name] = [signer], targets(mine)

    def write(self, role, signed):
        metadata = Metadata(signed)
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(self.serializer)
        name = urllib.parse.quote(role, "")
        versioned = role == "root" or (self.consistent and role != "timestamp")
        (self.folder / (f"{signed.version}.{name}.json" if versioned else f"{name}.json")).write_bytes(data)
        return MetaFile(signed.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()}) if self.hashes else MetaFile(signed.version)

    def publish(self):
        self.write("root", self.root)
        meta = {f"{role}.json": self.write(role, signed) for role, signed in self.roles.items()}
        snapshot = self.write("snapshot", Snapshot(expires=SOON, meta=meta))
        self.write("timestamp", Timestamp(expires=SOON, snapshot_meta=snapshot))


def policy(folder, repository, root, more=""):
    """A host's policy, which pins a root file for a repository."""
    (folder / "policy/roots").mkdir(parents=True, exist_ok=True)
    (folder / "policy/roots/acme.json").write_bytes(root)
    (folder / "policy/policy.toml").write_text(
        f'version = 1\ndefault = "deny"\n[[root]]\nid = "acme"\ntype = "tuf"\nfile = "roots/acme.json"\n'
        f'sha256 = "{hashlib.sha256(root).hexdigest()}"\nmetadata = ["file://{repository}"]\n{more}'
        f'[[rule]]\nmatch = "{REGISTRY}/**"\nroots = ["acme"]\n'
    )


def judged(repository, name, content):
    """What rootpin says of an image, asked twice: the second time by what it has cached."""
    folder = repository.folder.with_suffix(".host")
    policy(folder, repository.folder, (repository.folder / "1.root.json").read_bytes())
    command = [ROOTPIN, "--json", "verify", "--policy", folder / "policy", "--state", folder / "state"]
    command.append(f"{REGISTRY}/{name}@sha256:{digest(content)}")
    answers = []
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        answer = json.loads(done.stdout)
        answers.append(answer["code"] or answer["outcome"])
        assert (done.returncode == 0) == (answers[-1] == "allowed"), done
    assert answers[0] == answers[1], answers
    return answers[0]


def repositories(folder):
    """Each with what is asked of it: name, content and the answer."""
    asked = [("app:1", "one", "allowed"), ("app:1", "other", "digest-mismatch"), ("app:2", "one", "no-statement")]
    for kind in KINDS:
        for consistent in (True, False):
            name = f"{kind}-{'consistent' if consistent else 'plain'}"
            yield Repository(folder / name, [kind] * 4, consistent, top=targets({"app:1": "one"})), asked

    mixed = Repository(folder / "delegated", ["rsa-pss", "ed25519", "ecdsa", "rsa-pss"], top=targets({"app:1": "one"}))
    odd = "team/../é ?#%2f"
    mixed.delegate(odd, "ed25519", targets({"team/app:1": "two"}), terminating=True, paths=[f"{REGISTRY}/team/*"])
    mixed.delegate("after", "ecdsa", targets({"team/late:1": "three"}), terminating=False, paths=["*/*/*"])
    prefix = hashlib.sha256(f"{REGISTRY}/hashed:1".encode()).hexdigest()[:2]
    hashed = targets({"hashed:1": "four", "outside:1": "five"})
    mixed.delegate("hashed", "rsa-pss", hashed, terminating=False, path_hash_prefixes=[prefix])
    yield mixed, asked + [
        ("team/app:1", "two", "allowed"),
        ("team/app:1", "one", "digest-mismatch"),
        ("team/late:1", "three", "no-statement"),
        ("hashed:1", "four", "allowed"),
        ("outside:1", "five", "no-statement"),
    ]

    for consistent, compact in ((True, True), (False, False)):
        names = {f"bins:{number}": f"content {number}" for number in range(20)}
        bins = Repository(folder / f"bins-{compact}", ["ecdsa"] * 4, consistent, compact, hashes=False, top=targets({}))
        bins.delegate_to_bins(3, names)
        yield bins, [(name, content, "allowed") for name, content in list(names.items())[:8]] + [("bins:20", "x", "no-statement")]

    for role in ("targets", "delegated"):
        over = Repository(folder / f"over-{role}", ["ecdsa"] * 4, top=targets({}, PAST if role == "targets" else SOON))
        over.delegate("delegated", "ecdsa", targets({"app:1": "one"}, PAST), terminating=False, paths=["*/*"])
        yield over, [("app:1", "one", "expired")]


PASSPHRASE = b"correct horse"
P256, P384 = lambda: ec.generate_private_key(ec.SECP256R1()), lambda: ec.generate_private_key(ec.SECP384R1())


def hashed(key):
    return hashlib.sha256(encode_canonical(key).encode()).hexdigest()


def plain(role, key):
    return hashed(key), key


def with_members(**members):
    """A tool that adds members to a key and hashes them too."""
    return lambda role, key: (hashed({**key, **members}), {**key, **members})


def with_public(change):
    def listed(role, key):
        key = {**key, "keyval": {"public": change(key["keyval"]["public"])}}
        return hashed(key), key

    return listed


# How tools list the very same keys: how one is made, and its ID and object in the root.
SHAPES = {
    "python-tuf": (ed25519.Ed25519PrivateKey.generate, plain),
    "python-tuf-ecdsa": (P256, plain),
    "python-tuf-p384": (P384, plain),
    "python-tuf-rsa": (lambda: rsa.generate_private_key(65537, 2048), plain),
    "go-tuf": (ed25519.Ed25519PrivateKey.generate, with_members(keyid_hash_algorithms=["sha256", "sha512"])),
    "tuf-on-ci": (P256, with_members(**{"x-tuf-on-ci-keyowner": "@alice"})),
    "tuf-on-ci-online": (P256, lambda role, key: (hashed(key), {**key, "x-tuf-on-ci-online-uri": "gcpkms://projects/x"})),
    "opaque": (ed25519.Ed25519PrivateKey.generate, lambda role, key: (f"{role}-key-2026", key)),
    "old-type": (P256, lambda role, key: plain(role, {**key, "keytype": "ecdsa-sha2-nistp256"})),
    "tuftool": (P256, with_public(lambda pem: pem.rstrip("\n"))),
    "crlf": (P256, with_public(lambda pem: pem.replace("\n", "\r\n"))),
    "private": (
        ed25519.Ed25519PrivateKey.generate,
        lambda role, key: (hashed({**key, "keyval": {"private": "", **key["keyval"]}}), key),
    ),
}


class Listed:
    """A signer under the ID that a root lists."""

    def __init__(self, signer, keyid, key):
        rest = {name: value for name, value in key.items() if name not in ("keytype", "scheme", "keyval")}
        self.signer = signer
        self.public_key = SSlibKey(keyid, key["keytype"], key["scheme"], key["keyval"], rest)

    def sign(self, data):
        signature = self.signer.sign(data)
        signature.keyid = self.public_key.keyid
        return signature


class Folder(FetcherInterface):
    def _fetch(self, url):
        path = pathlib.Path(urllib.parse.unquote(urllib.parse.urlparse(url).path))
        if not path.exists():
            raise DownloadHTTPError("no such file", 404)
        yield path.read_bytes()


def seen_by_python_tuf(folder, root, name):
    """The digest that python-tuf's client finds for a name, from the first root on."""
    with tempfile.TemporaryDirectory() as client:
        updater = Updater(client, f"file://{folder}/", fetcher=Folder(), bootstrap=root)
        found = updater.get_targetinfo(f"{REGISTRY}/{name}")
        return found and found.hashes["sha256"]


def gone_on_with(folder, shape):
    """A repository in that shape: cloned, signed, refreshed, delegated and rotated by rootpin, and read by python-tuf after each."""
    make, listed = SHAPES[shape]
    repository = Repository(folder / shape, ["ed25519"] * 4, top=targets({"app:1": "one"}))
    work = folder / f"{shape}.work"
    (work / "keys").mkdir(parents=True)
    repository.root = Root(expires=NOW + timedelta(days=365), consistent_snapshot=True)
    for role in ("root", "timestamp", "snapshot", "targets"):
        private = make()
        signer = CryptoSigner(private)
        key = {"keytype": signer.public_key.keytype, "scheme": signer.public_key.scheme, "keyval": dict(signer.public_key.keyval)}
        repository.signers[role] = [Listed(signer, *listed(role, key))]
        repository.root.add_key(repository.signers[role][0].public_key, role)
        file = work / "keys" / f"{role}.pem"
        encryption = serialization.BestAvailableEncryption(PASSPHRASE)
        file.touch(0o600)
        file.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
        public = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        file.with_suffix(".pub").write_bytes(public)
    repository.publish()
    root = (repository.folder / "1.root.json").read_bytes()

    def rootpin(*words):
        environment = {**os.environ, "ROOTPIN_PASSPHRASE": PASSPHRASE.decode()}
        done = subprocess.run([ROOTPIN, "repo", "--repo", work, *words], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, f"{shape}: {words}: {done.stdout}{done.stderr}"

    pinned = folder / f"{shape}.root.json"
    pinned.write_bytes(root)
    name = f"{REGISTRY}/app:2"
    team = ("--key", str(work / "keys/team.pub"))
    for words in (
        ("clone", f"file://{repository.folder}", str(work), "--root", str(pinned), "--sha256", hashlib.sha256(root).hexdigest(),
         "--names", f"{REGISTRY}/**"),
        ("sign", name, "--digest", f"sha256:{digest('two')}", "--length", "3"),
        ("refresh",),
        ("key", "generate", "team"),
        ("delegate", "add", "team", *team, "--paths", f"{REGISTRY}/team/**"),
        ("rotate", "root", "--renew"),
        ("rotate", "root", "--keep", *team),
        ("rotate", "online"),
        ("rotate", "targets"),
    ):
        rootpin(*words)
        if words[0] not in ("clone", "key"):
            for content, image in (("one", "app:1"), ("two", "app:2")):
                found = seen_by_python_tuf(repository.folder, root, image)
                assert found == digest(content), f"{shape}: after {words[0]} python-tuf finds {found} for {image}"
    assert judged(repository, "app:2", "two") == "allowed", shape


def main():
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        for repository, asked in repositories(pathlib.Path(folder)):
            repository.publish()
            for name, content, wanted in asked:
                found = judged(repository, name, content)
                assert found == wanted, f"{repository.folder.name}: {name} as {content!r} is {found}, wanted {wanted}"
                count += 1
    print(f"{count} judgements of python-tuf's repositories")
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            gone_on_with(pathlib.Path(folder), shape)
    print(f"{len(SHAPES)} shapes of repositories gone on with, and read by python-tuf")


if __name__ == "__main__":
    main()
