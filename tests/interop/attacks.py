"""Attacked repositories, as python-tuf's client and `rootpin verify` judge them side by side: attacks.py ROOTPIN.
`tests/run` starts this.

Both clients see a first publication, and most a second one. Then the repository is attacked, and both are asked for each content that the
name had or that the adversary wants. At last the publisher publishes again. Where one says yes and the other doesn't, `differences.tsv` has
the reason; a line of it that is no difference any more is an error.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Timestamp
from tuf.ngclient import Updater

from python_tuf import PAST, REGISTRY, ROOTPIN, SOON, Folder, Repository, digest, policy, targets

DIFFERENCES = pathlib.Path(__file__).with_name("differences.tsv")
NAME = "app:1"
EVIL = "evil"
ATTACKS = []


class Attacked(Repository):
    """A publisher whose every version can be chosen, and the adversary who has some of its keys."""

    def __init__(self, folder):
        super().__init__(folder, ["ed25519"] * 4, top=targets({NAME: "one"}))
        self.delegate("team", "ed25519", targets({"team/app:1": "one"}), terminating=False, paths=[f"{REGISTRY}/team/*"])
        self.version = 0

    def online(self, meta, version, expires=SOON):
        """Snapshot and timestamp over these files, by the online keys."""
        snapshot = self.write("snapshot", Snapshot(version=version, expires=expires, meta=meta))
        self.write("timestamp", Timestamp(version=version, expires=expires, snapshot_meta=snapshot))

    def publish(self, content=None, version=None):
        """The next version of everything below the root."""
        self.version = version or self.version + 1
        if content:
            self.roles["targets"].targets |= targets({NAME: content}).targets
        self.meta = {}
        for role, signed in self.roles.items():
            signed.version = self.version
            self.meta[f"{role}.json"] = self.write(role, signed)
        self.online(self.meta, self.version)

    def sign(self, name, signed, roles):
        """A file with the signatures of these roles' first keys."""
        metadata = Metadata(signed)
        for role in roles:
            metadata.sign(self.signers[role][0], append=True)
        (self.folder / name).write_bytes(metadata.to_bytes(self.serializer))
        return MetaFile(signed.version)

    def evil(self, version):
        signed = targets({NAME: EVIL})
        signed.version = version
        signed.delegations = self.roles["targets"].delegations
        return signed

    def next_root(self, signers, version=2, own=None):
        """A root file with other keys for the role of targets, signed by these keys."""
        root = Root.from_dict(self.root.to_dict())
        root.version = version
        for name, keys in (own or {}).items():
            root.roles[name].keyids = []
            for signer in keys:
                root.add_key(signer.public_key, name)
        metadata = Metadata(root)
        for signer in signers:
            metadata.sign(signer, append=True)
        (self.folder / "2.root.json").write_bytes(metadata.to_bytes(self.serializer))


def attack(function):
    """What is done to a repository; `before`: folders with what it was at the first and the second publication."""
    ATTACKS.append(function)
    return function


@attack
def nothing(repository, before):
    pass


@attack
def rollback(repository, before):
    restore(repository, before[0])


@attack
def rollback_of_timestamp(repository, before):
    shutil.copy(before[0] / "timestamp.json", repository.folder)


@attack
def rollback_of_targets_by_the_online_keys(repository, before):
    repository.online({**repository.meta, "targets.json": MetaFile(1)}, 3)


@attack
def rollback_after_an_update_that_broke_off(repository, before):
    repository.publish("three")
    (repository.folder / "3.snapshot.json").unlink()
    repository.looks()
    restore(repository, before[1])


@attack
def fast_forward(repository, before):
    repository.online(repository.meta, 2**31)


@attack
def freeze_beyond_the_expiry(repository, before):
    repository.online(repository.meta, 3, PAST)


@attack
def expired_targets(repository, before):
    repository.roles["targets"].expires = PAST
    repository.publish()
    repository.roles["targets"].expires = SOON


@attack
def mix_and_match(repository, before):
    repository.publish("three")
    shutil.copy(before[0] / "1.targets.json", repository.folder / "3.targets.json")


@attack
def other_bytes_of_the_snapshot(repository, before):
    repository.publish("three")
    repository.sign("3.snapshot.json", Snapshot(version=3, expires=SOON, meta={"targets.json": MetaFile(2)}), ["snapshot"])


@attack
def another_file_of_the_same_version(repository, before):
    signed = repository.evil(2)
    repository.online({**repository.meta, "targets.json": repository.write("targets", signed)}, 3)


@attack
def another_timestamp_of_the_same_version(repository, before):
    snapshot = repository.write("snapshot", Snapshot(version=3, expires=SOON, meta=repository.meta))
    repository.write("timestamp", Timestamp(version=2, expires=SOON, snapshot_meta=snapshot))


@attack
def a_role_vanishes_from_the_snapshot(repository, before):
    repository.online({"targets.json": repository.meta["targets.json"]}, 3)


@attack
def targets_by_another_role_s_key(repository, before):
    meta = repository.sign("3.targets.json", repository.evil(3), ["snapshot", "timestamp", "team"])
    repository.online({**repository.meta, "targets.json": meta}, 3)


@attack
def targets_without_signatures(repository, before):
    meta = repository.sign("3.targets.json", repository.evil(3), [])
    repository.online({**repository.meta, "targets.json": meta}, 3)


@attack
def a_root_by_one_of_two_keys(repository, before):
    first = repository.signers["root"][0]
    repository.next_root([first], own={"targets": repository.signers["snapshot"]})


@attack
def a_root_whose_version_is_another(repository, before):
    repository.next_root(repository.signers["root"], version=3)


@attack
def a_root_by_its_own_keys_alone(repository, before):
    own = repository.signers["snapshot"] + repository.signers["timestamp"]
    repository.next_root(own, own={"root": own})


@attack
def no_timestamp(repository, before):
    (repository.folder / "timestamp.json").unlink()


@attack
def no_targets(repository, before):
    repository.publish("three")
    (repository.folder / "3.targets.json").unlink()


@attack
def a_member_stands_twice(repository, before):
    repository.publish("three")
    file = repository.folder / "timestamp.json"
    file.write_bytes(file.read_bytes().replace(b'"version": 3\n', b'"version": 4,\n "version": 3\n'))
    assert b'"version": 4' in file.read_bytes()


def restore(repository, folder):
    shutil.rmtree(repository.folder)
    shutil.copytree(folder, repository.folder)


class Clients:
    """A host with rootpin and one with python-tuf's client, which both keep what they saw."""

    def __init__(self, repository):
        self.repository, self.host = repository, repository.folder.with_suffix(".host")
        self.root = (repository.folder / "1.root.json").read_bytes()
        policy(self.host, repository.folder, self.root, 'recheck = "0s"\n')
        self.client = repository.folder.with_suffix(".client")
        self.client.mkdir()

    def python_tuf(self, content):
        try:
            updater = Updater(str(self.client), f"file://{self.repository.folder}/", fetcher=Folder(), bootstrap=self.root)
            found = updater.get_targetinfo(f"{REGISTRY}/{NAME}")
        except (DownloadError, RepositoryError) as error:
            return type(error).__name__
        return "allowed" if found and found.hashes["sha256"] == digest(content) else "another digest"

    def rootpin(self, content):
        command = [ROOTPIN, "--json", "verify", "--policy", self.host / "policy", "--state", self.host / "state"]
        done = subprocess.run([*command, f"{REGISTRY}/{NAME}@sha256:{digest(content)}"], capture_output=True, text=True)
        answer = json.loads(done.stdout)
        return answer["code"] or answer["outcome"]

    def both(self, content):
        return self.python_tuf(content), self.rootpin(content)


def differences_of(folder, does):
    """Asks both, and returns where one says yes and the other doesn't."""
    repository = Attacked(folder / does.__name__)
    repository.write("root", repository.root)
    clients, before = None, []
    for content in ("one", "two"):
        repository.publish(content)
        clients = clients or Clients(repository)
        assert clients.both(content) == ("allowed", "allowed"), clients.both(content)
        before.append(folder / f"{does.__name__}.{content}")
        shutil.copytree(repository.folder, before[-1])
    repository.looks = lambda: clients.both("three")
    does(repository, before)
    found = []
    for content in ("one", "two", "three", EVIL):
        answers = clients.both(content)
        found.append((f"is it {content}", answers))
    # The publisher is back, with higher versions than any that the adversary showed.
    (repository.folder / "2.root.json").unlink(missing_ok=True)
    repository.publish("last", 2**31 + 1 if does is fast_forward else 10)
    found.append(("afterwards", clients.both("last")))
    yes = [[answer == "allowed" for answer in answers] for _, answers in found]
    assert not yes[3][1], f"{does.__name__}: evil bytes are let in: {found}"
    return [(question, *answers) for (question, answers), (one, other) in zip(found, yes) if one != other]


def main():
    lines = [line.split("\t") for line in DIFFERENCES.read_text().splitlines()[1:]]
    explained = {tuple(line[:4]) for line in lines if line[4].strip()}
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        for does in ATTACKS:
            found |= {(does.__name__, *difference) for difference in differences_of(pathlib.Path(folder), does)}
    show = lambda these: "".join("\n  " + "\t".join(one) for one in sorted(these))
    assert not found - explained, f"without a reason in {DIFFERENCES.name}:{show(found - explained)}"
    assert not explained - found, f"no difference any more:{show(explained - found)}"
    print(f"{len(ATTACKS)} attacks on repositories, judged as python-tuf does but for {len(found)} answers with a reason")


main()
