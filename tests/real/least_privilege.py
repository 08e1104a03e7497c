#!/usr/bin/env python3
"""Runs with the sandbox of a packaged unit, and writes what it lets a process do: `NAME=VALUE` a line."""
import ctypes, errno, os, socket, stat, sys, time

libc = ctypes.CDLL(None, use_errno=True)
# For which the C library has no functions: bpf(2), init_module(2), add_key(2).
BPF, INIT_MODULE, ADD_KEY = {"x86_64": (321, 175, 248), "aarch64": (280, 105, 217)}[os.uname().machine]
out = open(sys.argv[1], "w")


def tell(name, value):
    print(f"{name}={value}", file=out, flush=True)


def tried(name, attempt):
    try:
        attempt()
        tell(name, "done")
    except OSError as error:
        tell(name, errno.errorcode.get(error.errno, error.errno))


def call(function, *arguments):
    def attempt():
        if function(*arguments) == -1:
            raise OSError(ctypes.get_errno(), "call")
    return attempt


def is_writable(folder):
    name = os.path.join(folder, ".rootpin-probe")
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(name)
        return True
    except OSError:
        return False


# Of a mount that is read-only nothing can be written. Of each other one its top and the folders in it are tried.
found = set()
for line in open("/proc/self/mountinfo"):
    fields = line.split()
    point, options, kind = fields[4], fields[5].split(","), fields[fields.index("-") + 1]
    if "ro" in options or not os.path.isdir(point):
        continue
    folders = [point] + [entry.path for entry in os.scandir(point) if entry.is_dir(follow_symlinks=False)] if kind != "proc" else [point]
    found.update(folder for folder in folders if is_writable(folder))
# A writable folder within another one says nothing more.
tops = sorted(folder for folder in found if not any(other != folder and folder.startswith(other.rstrip("/") + "/") for other in found))
tell("writable", " ".join(tops))
for folder in ["/", "/etc", "/usr/bin", "/root", "/home", "/var/lib", "/var/lib/containerd", "/run", "/run/containerd", "/opt", "/boot", "/sys", "/proc/sys/kernel", "/dev"]:
    if os.path.isdir(folder):
        tell(f"in {folder}", "written" if is_writable(folder) else "no")
status = dict(line.rstrip("\n").split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
for name in ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp"]:
    tell(name, status[name].strip())

own = os.path.join(sys.argv[2], "probe")
open(own, "w").close()
tried("chown", lambda: os.chown(own, 65534, 65534))
tried("setuid bit", lambda: os.chmod(own, 0o4755))
tried("device", lambda: os.mknod(own + ".dev", 0o600 | stat.S_IFBLK, os.makedev(8, 0)))
tried("another user's file", lambda: open("/run/of-nobody").close())
tried("another user's process", lambda: os.kill(int(open("/run/of-nobody.pid").read()), 0))
tried("setuid", lambda: os.setuid(65534))
tried("mount", call(libc.mount, b"none", b"/tmp", b"tmpfs", 0, 0))
tried("mount namespace", call(libc.unshare, 0x00020000))
tried("user namespace", call(libc.unshare, 0x10000000))
tried("clock", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()))
tried("hostname", lambda: socket.sethostname("x"))
tried("realtime", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
tried("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close())
tried("raw IP", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close())
tried("another family", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close())
tried("bpf", call(libc.syscall, BPF, 0, 0, 0))
tried("module", call(libc.syscall, INIT_MODULE, 0, 0, b""))
tried("keys", call(libc.syscall, ADD_KEY, b"user", b"x", b"x", 1, -2))
tried("a port below 1024", lambda: socket.create_server(("127.0.0.1", 506)).close())
os.unlink(own)
tell("ended", "yes")
