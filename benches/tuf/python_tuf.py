"""python-tuf as a client: python_tuf.py ROOT URL CACHE TARGET prints the target's SHA-256."""

import os
import pathlib
import sys

from tuf.ngclient import Updater, UpdaterConfig

root, url, cache, target = sys.argv[1:]
os.makedirs(cache, exist_ok=True)
config = UpdaterConfig(targets_max_length=32 << 20)
updater = Updater(cache, url, cache, url, config=config, bootstrap=pathlib.Path(root).read_bytes())
updater.refresh()
print(updater.get_targetinfo(target).hashes["sha256"])
