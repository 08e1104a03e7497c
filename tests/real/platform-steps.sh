# What is done on each platform's host, by tests/real/platforms.rs.
listing | sort >/root/before
step found rootpin install --platform auto --dry-run --json
step install rootpin install --platform auto --yes --json
step again rootpin install --platform auto --yes --json
rootpind_starts
step acknowledge rootpin state acknowledge
step starts engine_starts
step doctor rootpin doctor --json
step prove rootpin prove --json
engine_stops
step uninstall rootpin install --uninstall --yes --json
eval "$REGENERATE"
listing | sort >/root/after
step same diff /root/before /root/after
step plain engine_starts
engine_stops
