"""Times rootpin against cosign and notation, in turn: measure.py PROGRAMS TOOLS REGISTRY RUNS"""

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

PROGRAMS, TOOLS, REGISTRY, RUNS = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
WORK = tempfile.mkdtemp(prefix="rootpin-bench-")
NAME = "bench/signatures%d" % os.getpid()
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ENV = dict(os.environ, HOME=WORK, XDG_CONFIG_HOME=WORK, COSIGN_PASSWORD="", NOTATION_CONFIG=WORK + "/notation")
LEAF = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n"


def run(*words, check=True):
    done = subprocess.run(words, cwd=WORK, env=ENV, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit("%s: %s%s" % (" ".join(words), done.stdout, done.stderr))
    return done


def write(name, text):
    path = os.path.join(WORK, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def put(method, url, data, kind):
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": kind})
    return urllib.request.urlopen(request)


def push(name):
    """An image of one small layer; its digest."""
    base = "http://%s/v2/%s" % (REGISTRY, name)

    def blob(data, kind):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        place = put("POST", base + "/blobs/uploads/", b"", kind).headers["location"]
        put("PUT", place + "&digest=" + digest, data, "application/octet-stream")
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    config = blob(b"{}", "application/vnd.oci.image.config.v1+json")
    layer = blob(name.encode(), "application/vnd.oci.image.layer.v1.tar")
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    data = json.dumps(manifest).encode()
    put("PUT", base + "/manifests/v1", data, MANIFEST)
    return "sha256:" + hashlib.sha256(data).hexdigest()


def policy(name, kind, root):
    text = 'version = 1\ndefault = "deny"\n[[root]]\nid = "signer"\ntype = "%s"\n%s\n' % (kind, root)
    text += '[[rule]]\nmatch = "%s/%s"\nroots = ["signer"]\ntags = "unbound"\n' % (REGISTRY, name)
    write(kind + "/policy.toml", text)


def timed(words, before=None):
    if before:
        before()
    begun = time.perf_counter()
    done = subprocess.run(words, cwd=WORK, env=ENV, capture_output=True, text=True)
    took = (time.perf_counter() - begun) * 1000
    if done.returncode:
        raise SystemExit("%s: %s%s" % (" ".join(words), done.stdout, done.stderr))
    return took


def compare(kind, peer, image):
    """Medians of the peer, and of rootpin with an empty state and with one that has seen the image."""
    rootpin = [PROGRAMS + "/rootpin", "verify", "--policy", WORK + "/" + kind, "--state"]
    cold, warm = rootpin + [WORK + "/cold", image], rootpin + [WORK + "/warm", image]
    empty = lambda: shutil.rmtree(WORK + "/cold", ignore_errors=True)
    timed(warm), timed(peer)
    times = {"peer": [], "cold": [], "warm": []}
    for number in range(RUNS):
        order = [("peer", peer, None), ("cold", cold, empty), ("warm", warm, None)]
        for which, words, before in order[number % 3:] + order[:number % 3]:
            times[which].append(timed(words, before))
    return {which: statistics.median(all_times) for which, all_times in times.items()}


def in_the_daemon(kind, image):
    """Microseconds of decisions, by the daemon's own clock, once the image was seen."""
    write("rootpin.toml", 'state = "%s/daemon"\ncontrol = "%s/control"\npolicy = "%s/%s"\naudit-log = "%s/audit"\n' % (WORK, WORK, WORK, kind, WORK))
    daemon = subprocess.Popen([PROGRAMS + "/rootpind", "--config", WORK + "/rootpin.toml"], env=ENV, stderr=subprocess.DEVNULL)
    try:
        ask = [PROGRAMS + "/rootpin", "--control", WORK + "/control", "verify", image]
        end = time.time() + 20
        while run(*ask, check=False).returncode and time.time() < end:
            time.sleep(0.1)
        for _ in range(max(RUNS, 100)):
            timed(ask)
    finally:
        daemon.terminate()
        daemon.wait()
    with open(WORK + "/audit") as lines:
        records = [json.loads(line) for line in lines]
    spent = sorted(one["microseconds"] for one in records if one.get("outcome") == "allowed")[:-1]
    return statistics.median(spent) / 1000, spent[len(spent) * 99 // 100] / 1000


def main():
    cosign, notation = TOOLS + "/cosign", TOOLS + "/notation"
    run(cosign, "generate-key-pair")
    run(cosign, "signing-config", "create", "--out", "signing.json")
    images = {}
    for which in ("cosign", "notation"):
        name = "%s/%s" % (NAME, which)
        images[which] = "%s/%s@%s" % (REGISTRY, name, push(name))
    os.makedirs(WORK + "/cosign/roots")
    run(cosign, "sign", "--key", "cosign.key", "--signing-config", "signing.json", "--allow-insecure-registry", "--yes", images["cosign"])
    shutil.copy(WORK + "/cosign.pub", WORK + "/cosign/roots/key.pub")
    policy(NAME + "/cosign", "cosign", 'keys = ["roots/key.pub"]')
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run("openssl", "req", "-x509", *ec, "-days", "90", "-subj", "/C=US/ST=WA/O=Bench/CN=ca", "-addext", "basicConstraints=critical,CA:TRUE",
        "-addext", "keyUsage=critical,keyCertSign", "-keyout", "ca.key", "-out", "ca.crt")
    run("openssl", "req", "-new", *ec, "-subj", "/C=US/ST=WA/O=Bench/CN=leaf", "-keyout", "leaf.key", "-out", "leaf.csr")
    write("leaf.ext", LEAF)
    run("openssl", "x509", "-req", "-days", "90", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "leaf.ext", "-out", "leaf.crt")
    with open(WORK + "/leaf.crt") as leaf, open(WORK + "/ca.crt") as ca:
        chain = leaf.read() + ca.read()
    write("chain.crt", chain)
    write("notation/truststore/x509/ca/bench/ca.crt", chain[chain.rindex("-----BEGIN"):])
    key = {"name": "leaf", "keyPath": WORK + "/leaf.key", "certPath": WORK + "/chain.crt"}
    write("notation/signingkeys.json", json.dumps({"default": "leaf", "keys": [key]}))
    trust = {"name": "bench", "registryScopes": ["*"], "signatureVerification": {"level": "strict"}, "trustStores": ["ca:bench"], "trustedIdentities": ["*"]}
    write("notation/trustpolicy.json", json.dumps({"version": "1.0", "trustPolicies": [trust]}))
    run(notation, "sign", "--insecure-registry", images["notation"])
    policy(NAME + "/notation", "notation", 'certificates = ["roots/ca.crt"]')
    os.makedirs(WORK + "/notation/roots"), shutil.copy(WORK + "/ca.crt", WORK + "/notation/roots/ca.crt")
    peers = {
        "cosign": [cosign, "verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-insecure-registry", images["cosign"]],
        "notation": [notation, "verify", "--insecure-registry", images["notation"]],
    }
    print("| %d runs | peer, ms | rootpin cold, ms | ratio, wanted 0.5 | rootpin warm, ms | ratio, wanted 0.2 |\n|---|---|---|---|---|---|" % RUNS)
    for which, peer in peers.items():
        found = compare(which, peer, images[which])
        ratios = found["cold"] / found["peer"], found["warm"] / found["peer"]
        print("| `%s verify` | %.1f | %.1f | %.2f | %.1f | %.2f |" % (which, found["peer"], found["cold"], ratios[0], found["warm"], ratios[1]))
    for which in peers:
        median, last = in_the_daemon(which, images[which])
        os.remove(WORK + "/audit")
        print("decision in the daemon, %s, seen before: median %.2f ms, p99 %.2f ms, wanted 0.5" % (which, median, last))


try:
    main()
finally:
    shutil.rmtree(WORK, ignore_errors=True)
