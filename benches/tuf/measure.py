"""Measures rootpin and its peers on the same TUF repositories: see benches/README.md; benches/tuf/run starts this.

measure.py PROGRAMS PEERS WORK RUNS: folders of rootpin's and the peers' binaries, a folder to work in, and how often each is run.
"""

import hashlib
import http.server
import json
import os
import pathlib
import random
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

PROGRAMS, PEERS, WORK = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
RUNS = int(sys.argv[4])
HERE = pathlib.Path(__file__).parent
COUNTS = (1, 1_000, 10_000, 100_000)
# In 1,024 hash bins, which of the peers python-tuf alone can read.
BINNED, BITS = 1_000_000, 10
TARGET, DIGEST = "registry.example:5000/team00/app0:1.0", hashlib.sha256(b"0").hexdigest()


class Files(http.server.SimpleHTTPRequestHandler):
    """Static files, each answer in as few packets as it takes."""

    protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, 1 << 16

    def log_message(self, *_):
        pass

    def send_error(self, code, *_):
        """Without a word of explanation, and the connection goes on."""
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def copyfile(self, source, _):
        self.wfile.flush()
        self.connection.sendfile(source)


def serve():
    handler = lambda *arguments: Files(*arguments, directory=str(WORK / "repositories"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def policy(count, url, recheck):
    root = (WORK / f"repositories/{count}/1.root.json").read_bytes()
    folder = WORK / f"policies/{count}-{recheck}"
    (folder / "roots").mkdir(parents=True, exist_ok=True)
    (folder / "roots/acme.json").write_bytes(root)
    (folder / "policy.toml").write_text(
        f'version = 1\ndefault = "deny"\n[[root]]\nid = "acme"\ntype = "tuf"\nfile = "roots/acme.json"\n'
        f'sha256 = "{hashlib.sha256(root).hexdigest()}"\nmetadata = ["{url}/{count}/"]\nrecheck = "{recheck}"\n'
        f'[[rule]]\nmatch = "registry.example:5000/**"\nroots = ["acme"]\n'
    )
    return folder


def run(command):
    """Milliseconds and peak MiB of a process that must give the digest."""
    with open(WORK / "output", "w+") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - begun
        output.seek(0)
        text = output.read()
    process.returncode = status
    assert status == 0 and DIGEST in text, f"{command}: {status}\n{text}"
    return took * 1e3, usage.ru_maxrss / 1024


def clients(count, url):
    cache, root = str(WORK / "cache"), str(WORK / f"repositories/{count}/1.root.json")
    peer = [root, f"{url}/{count}/", cache, TARGET]
    ours = [PROGRAMS / "rootpin", "verify", "--policy", policy(count, url, "0s"), "--state", cache, f"{TARGET}@sha256:{DIGEST}"]
    python = [sys.executable, HERE / "python_tuf.py", *peer]
    if count == BINNED:
        return {"rootpin": ours, "python-tuf": python}
    return {"rootpin": ours, "sigstore-tuf": [PEERS / "sigstore", *peer], "tough": [PEERS / "tough", *peer], "python-tuf": python}


def processes(count, url, series):
    """Each client in turn, the first of them another each time: with an empty cache, and with the one it has just written."""
    commands = clients(count, url)
    names = list(commands)
    for at in range(RUNS):
        for name in names[at % len(names):] + names[: at % len(names)]:
            shutil.rmtree(WORK / "cache", ignore_errors=True)
            os.sync()
            for kind in ("cold", "warm"):
                took, peak = run(commands[name])
                series.setdefault((count, kind, name, "ms"), []).append(took)
                series.setdefault((count, kind, name, "MiB"), []).append(peak)


def daemon(count, url, recheck, series):
    """The decisions of a resident rootpind, by its own clock."""
    folder = WORK / f"daemon-{recheck}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    control, audit = folder / "control.sock", folder / "audit.jsonl"
    (folder / "rootpin.toml").write_text(
        f'state = "{folder}/state"\ncontrol = "{control}"\npolicy = "{policy(count, url, recheck)}"\naudit-log = "{audit}"\n'
    )
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(str(folder / "notify.sock"))
    ready.settimeout(30)
    with open(folder / "log", "w") as log:
        environment = {**os.environ, "NOTIFY_SOCKET": str(folder / "notify.sock")}
        process = subprocess.Popen(
            [PROGRAMS / "rootpind", "--config", folder / "rootpin.toml"], stdout=log, stderr=log, env=environment
        )
    try:
        while b"READY=1" not in ready.recv(4096):
            pass
        for _ in range(10 * RUNS + 1):
            run([PROGRAMS / "rootpin", "--control", control, "verify", f"{TARGET}@sha256:{DIGEST}"])
        peak = next(line for line in open(f"/proc/{process.pid}/status") if line.startswith("VmHWM:"))
        series[count, f"daemon, recheck {recheck}", "rootpin", "MiB"] = [int(peak.split()[1]) / 1024]
    finally:
        process.kill()
        process.wait()
    spent = [json.loads(line)["microseconds"] / 1e3 for line in open(audit)]
    series[count, f"daemon, recheck {recheck}", "rootpin", "ms"] = spent[1:]


def interval(values, statistic=statistics.median):
    """A number and its 95 % interval by bootstrap; the seed is fixed, so that the same runs give the same one."""
    dice = random.Random(1)
    drawn = sorted(statistic(dice.choices(values, k=len(values))) for _ in range(2000))
    return statistic(values), drawn[50], drawn[1949]


def shown(numbers, digits=1):
    value, low, high = (f"{number:.{digits}f}" for number in numbers)
    return f"{value} ({low} - {high})"


def main():
    url, series = serve(), {}
    for count in (*COUNTS, BINNED):
        if not (WORK / f"repositories/{count}").exists():
            bits = str(BITS if count == BINNED else 0)
            subprocess.run([sys.executable, HERE / "make.py", str(count), WORK / f"repositories/{count}", bits], check=True)
    for count in (*COUNTS, BINNED):
        print(f"bench: {count} targets", file=sys.stderr)
        processes(count, url, series)
    for recheck in ("0s", "60s"):
        daemon(COUNTS[-1], url, recheck, series)
    print("| targets | | client | ms | peak MiB | rootpin's share of its ms |\n|---|---|---|---|---|---|")
    for (count, kind, name, unit), values in series.items():
        if unit == "ms":
            ours = series[count, kind, "rootpin", "ms"]
            ratio = lambda pairs: statistics.median(one for one, _ in pairs) / statistics.median(other for _, other in pairs)
            share = "" if name == "rootpin" else shown(interval(list(zip(ours, values)), ratio), 2)
            peak = max(series[count, kind, name, "MiB"])
            print(f"| {count:,} | {kind} | {name} | {shown(interval(values), 2 if 'daemon' in kind else 1)} | {peak:.0f} | {share} |")
    runs = {" ".join(map(str, key)): values for key, values in series.items()}
    report = {"load": os.getloadavg(), "cores": os.cpu_count(), "runs": runs}
    (WORK / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json").write_text(json.dumps(report, indent=1))


main()
