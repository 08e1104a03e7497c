"""Attacked repositories of Notary, as its own client and `rootpin verify` judge them side by side: notary_client.py ROOTPIN NOTARY.
`tests/run` starts this with Debian's notary 0.7.0.

The adversary is the server: it has the keys of timestamp and snapshot. Both clients pin the root key. Both see a first publication and a second
one. Then the server attacks, and both are asked for each content that the tag had or that the adversary wants. Where one says yes and the
other doesn't, `differences-notary.tsv` has the reason; a line of it that is no difference any more is an error.
"""

import base64
import hashlib
import http.server
import ipaddress
import json
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import NameOID

ROOTPIN, NOTARY = sys.argv[1:3]
DIFFERENCES = pathlib.Path(__file__).with_name("differences-notary.tsv")
GUN, OTHER, TAG, ROLE, EVIL = "registry.test/team/app", "registry.test/team/other", "v1", "targets/releases", "evil"
NOW = datetime.now(timezone.utc).replace(microsecond=0)
SOON, PAST = NOW + timedelta(days=300), NOW - timedelta(seconds=1)
DER, PEM, SPKI = serialization.Encoding.DER, serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
ATTACKS = []


def text(data):
    return base64.b64encode(data).decode()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def digest(content):
    return hashlib.sha256(content.encode()).hexdigest()


def certificate(key, name, issuer=None, addresses=()):
    """A certificate of a key, by its own or by another one's."""
    named = lambda common: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    by, by_name = issuer or (key, name)
    made = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(by_name)).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=1)).not_valid_after(SOON)
    made = made.add_extension(x509.BasicConstraints(ca=not issuer and not addresses and name == "ca", path_length=None), critical=True)
    if addresses:
        made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(one)) for one in addresses]), critical=False)
    return made.sign(by, hashes.SHA256())


class Key:
    """A P-256 key as roles list it: bare, or in a certificate."""

    def __init__(self, name=None, private=None):
        self.private = private or ec.generate_private_key(ec.SECP256R1())
        spki = self.private.public_key().public_bytes(DER, SPKI)
        self.bare = {"keytype": "ecdsa", "keyval": {"private": None, "public": text(spki)}}
        pem = certificate(self.private, name).public_bytes(PEM) if name else None
        self.listed = {"keytype": "ecdsa-x509", "keyval": {"private": None, "public": text(pem)}} if name else self.bare
        self.id = hashlib.sha256(canonical(self.listed)).hexdigest()
        self.canonical_id = hashlib.sha256(canonical(self.bare)).hexdigest()

    def sign(self, data):
        r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(hashes.SHA256())))
        return {"keyid": self.id, "method": "ecdsa", "sig": text(r.to_bytes(32, "big") + s.to_bytes(32, "big"))}


def listed(keys):
    return {"keyids": [key.id for key in keys], "threshold": 1}


def meta(data):
    return {"hashes": {"sha256": text(hashlib.sha256(data).digest())}, "length": len(data)}


class Repository:
    """A repository of Notary, every part of which can be chosen."""

    def __init__(self, gun, root=None, keys=None):
        self.gun, self.root, self.version, self.files, self.other = gun, root or Key(gun), 0, {}, None
        self.keys = keys or {role: Key() for role in ("timestamp", "snapshot", "targets", ROLE)}
        self.sign_root(1, [self.root], [self.root])
        delegation = {"name": ROLE, "paths": [""], **listed([self.keys[ROLE]])}
        self.delegations = {"keys": {self.keys[ROLE].id: self.keys[ROLE].listed}, "roles": [delegation]}
        self.targets = {}

    def write(self, role, signed, keys, expires=SOON):
        signed["expires"] = expires.strftime("%Y-%m-%dT%H:%M:%SZ")
        data = b'{"signed":%s,"signatures":%s}' % (canonical(signed), canonical([key.sign(canonical(signed)) for key in keys]))
        self.files[f"{role}.json"] = data
        self.files[f"{role}.{hashlib.sha256(data).hexdigest()}.json"] = data
        return data

    def sign_root(self, version, roots, signers):
        keys = [*roots, *(self.keys[role] for role in ("timestamp", "snapshot", "targets"))]
        roles = {role: listed([self.keys[role]]) for role in ("timestamp", "snapshot", "targets")}
        signed = {"_type": "Root", "consistent_snapshot": False, "version": version, "keys": {key.id: key.listed for key in keys}}
        self.files[f"{version}.root.json"] = self.write("root", {**signed, "roles": {**roles, "root": listed(roots)}}, signers)

    def online(self, version, expires=SOON, of=None, without=(), timestamp=None):
        """Snapshot and timestamp over the files as they are, by the server's keys."""
        of = {**{role: self.files[f"{role}.json"] for role in ("root", "targets", ROLE)}, **(of or {})}
        listing = {role: meta(data) for role, data in of.items() if role not in without}
        snapshot = self.write("snapshot", {"_type": "Snapshot", "version": version, "meta": listing}, [self.keys["snapshot"]], expires)
        signed = {"_type": "Timestamp", "version": timestamp or version, "meta": {"snapshot": meta(snapshot)}}
        self.write("timestamp", signed, [self.keys["timestamp"]], expires)

    def release(self, content, version, signer=None, expires=SOON):
        names = {TAG: {"hashes": {"sha256": text(bytes.fromhex(digest(content)))}, "length": 7}}
        signed = {"_type": "Targets", "version": version, "delegations": {"keys": {}, "roles": []}, "targets": names}
        return self.write(ROLE, signed, [signer or self.keys[ROLE]] if signer != "nobody" else [], expires)

    def publish(self, content, version=None, expires=SOON):
        self.version = version or self.version + 1
        signed = {"_type": "Targets", "version": self.version, "delegations": self.delegations, "targets": {}}
        self.write("targets", signed, [self.keys["targets"]])
        self.release(content, self.version, expires=expires)
        self.online(self.version)


def attack(function):
    """What the server does; `before`: the files of the first and of the second publication."""
    ATTACKS.append(function)
    return function


@attack
def nothing(repository, before):
    pass


@attack
def rollback(repository, before):
    repository.files = dict(before[0])


@attack
def rollback_of_a_role(repository, before):
    repository.online(3, of={ROLE: before[0][f"{ROLE}.json"]})


@attack
def rollback_of_all_but_the_online_roles(repository, before):
    repository.online(3, of={role: before[0][f"{role}.json"] for role in ("targets", ROLE)})


@attack
def fast_forward(repository, before):
    repository.online(2**31 - 2)


@attack
def freeze_beyond_the_expiry(repository, before):
    repository.online(3, PAST)


@attack
def an_expired_role(repository, before):
    repository.publish("three", expires=PAST)


@attack
def mix_and_match(repository, before):
    repository.publish("three")
    newest = hashlib.sha256(repository.files[f"{ROLE}.json"]).hexdigest()
    repository.files[f"{ROLE}.{newest}.json"] = before[0][f"{ROLE}.json"]


@attack
def another_file_of_the_same_version(repository, before):
    repository.release(EVIL, 2)
    repository.online(3)


@attack
def a_role_vanishes_from_the_snapshot(repository, before):
    repository.online(3, without=[ROLE])


@attack
def a_role_by_the_server_s_keys(repository, before):
    repository.release(EVIL, 3, signer=repository.keys["snapshot"])
    repository.online(3)


@attack
def a_role_without_signatures(repository, before):
    repository.release(EVIL, 3, signer="nobody")
    repository.online(3)


@attack
def a_root_by_another_key(repository, before):
    own = Key(repository.gun)
    repository.sign_root(2, [own], [own])
    repository.online(3)


def passed_off(repository):
    """Another repository of the same signer, whose names the server shows as this one's."""
    other = Repository(OTHER, Key(OTHER, repository.root.private), repository.keys)
    other.publish(EVIL, 3)
    for role in ("targets", ROLE):
        repository.files.update({name: data for name, data in other.files.items() if name.startswith(f"{role}.")})
    repository.online(3)
    return other


@attack
def another_repository_that_nobody_saw(repository, before):
    passed_off(repository)


@attack
def another_repository_that_was_seen(repository, before):
    kept = dict(repository.files)
    repository.other = passed_off(repository)
    shown, repository.files = repository.files, kept
    assert repository.looks(OTHER) == ("allowed", "allowed")
    repository.files = shown


@attack
def no_timestamp(repository, before):
    del repository.files["timestamp.json"]


@attack
def a_member_stands_twice(repository, before):
    repository.publish("three")
    data = repository.files["timestamp.json"]
    repository.files["timestamp.json"] = data.replace(b'"version":3', b'"version":4,"version":3')


# What works against rootpin too, as the README says under "What it does not stop".
OPEN = [another_repository_that_nobody_saw]


class Server:
    """What the clients reach by TLS: the files of the repository as they are at that moment."""

    def __init__(self, folder):
        authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.ca, files = folder / "ca.crt", {}
        self.ca.write_bytes(certificate(authority, "ca").public_bytes(PEM))
        made = certificate(own, "server", (authority, "ca"), ["127.0.0.1"]).public_bytes(PEM)
        private = own.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "server.pem").write_bytes(made + private)
        self.repository = None
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                gun, _, name = self.path.removeprefix("/v2/").partition("/_trust/tuf/")
                repository = server.repository.other if gun == OTHER else server.repository
                data = b"{}" if self.path == "/v2/" else repository.files.get(name)
                self.send_response(404 if data is None else 200)
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, *words):
                pass

        listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
        self.url = f"https://127.0.0.1:{listener.server_port}"
        threading.Thread(target=listener.serve_forever, daemon=True).start()


class Clients:
    """A host with rootpin and one with Notary's client, which both keep what they saw."""

    def __init__(self, folder, server, root):
        folder.mkdir()
        self.folder, self.server = folder, server
        policy = folder / "policy"
        policy.mkdir(mode=0o700)
        shutil.copy(server.ca, policy / "ca.crt")
        (policy / "policy.toml").write_text(
            f'version = 1\ndefault = "deny"\n[[root]]\nid = "acme"\ntype = "notary"\nserver = "{server.url}"\ntls-ca = "ca.crt"\n'
            f'keys = ["{root.canonical_id}"]\nrole = "{ROLE}"\nrecheck = "0s"\n[[rule]]\nmatch = "registry.test/**"\nroots = ["acme"]\n'
        )
        pinned = {"certs": {GUN: [root.id]}}
        (folder / "notary.json").write_text(json.dumps({"trust_pinning": pinned, "remote_server": {"url": server.url, "root_ca": str(server.ca)}}))

    def notary(self, content, gun=GUN):
        command = [NOTARY, "-c", self.folder / "notary.json", "-d", self.folder / "trust", "lookup", gun, TAG]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return "refused"
        return "allowed" if digest(content) in done.stdout else "another digest"

    def rootpin(self, content, gun=GUN):
        command = [ROOTPIN, "--json", "verify", "--policy", self.folder / "policy", "--state", self.folder / "state"]
        done = subprocess.run([*command, f"{gun}:{TAG}@sha256:{digest(content)}"], capture_output=True, text=True)
        answer = json.loads(done.stdout)
        return answer["code"] or answer["outcome"]

    def both(self, content, gun=GUN):
        return self.notary(content, gun), self.rootpin(content, gun)


def differences_of(folder, server, does):
    """Asks both, and returns where one says yes and the other doesn't."""
    repository = server.repository = Repository(GUN)
    clients, before = Clients(folder / does.__name__, server, repository.root), []
    for content in ("one", "two"):
        repository.publish(content)
        answers = clients.both(content)
        assert answers == ("allowed", "allowed"), answers
        before.append(dict(repository.files))
    repository.looks = lambda gun: clients.both(EVIL, gun)
    does(repository, before)
    found = [(f"is it {content}", clients.both(content)) for content in ("one", "two", "three", EVIL)]
    assert (found[3][1][1] == "allowed") == (does in OPEN), f"{does.__name__}: {found}"
    return [(question, *answers) for question, answers in found if len({answer == "allowed" for answer in answers}) > 1]


def main():
    lines = [line.split("\t") for line in DIFFERENCES.read_text().splitlines()[1:]]
    explained = {tuple(line[:4]) for line in lines if line[4].strip()}
    found = set()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        server = Server(folder)
        for does in ATTACKS:
            found |= {(does.__name__, *difference) for difference in differences_of(folder, server, does)}
    show = lambda these: "".join("\n  " + "\t".join(one) for one in sorted(these))
    assert not found - explained, f"without a reason in {DIFFERENCES.name}:{show(found - explained)}"
    assert not explained - found, f"no difference any more:{show(explained - found)}"
    print(f"{len(ATTACKS)} attacks by a server of Notary, judged as its client does but for {len(found)} answers with a reason")


main()
