# What is done on the host of each platform that has a kubelet, by tests/real/kubelets.rs.
#   THEIRS: the real providers' configuration · FLAGS: prints the words with which the platform starts its kubelet

asks() { # asks IMAGE: what the kubelet gets, started as the platform starts it
  ROOTPIN_KUBELET=$(eval "$FLAGS") ROOTPIN_IMAGE=$1 "$STANDIN" --exact kubelets::stand_in --ignored --nocapture 2>&1
}
ask() { # ask NAME IMAGE
  step "$1" asks "$2"
}
install_with() { # install_with NAME TEXT: what comes of it where the real providers' configuration says that
  [[ $2 == none ]] && rm "$THEIRS" || printf '%s' "$2" >"$THEIRS"
  listing | sort >/root/before-broken
  step "$1" rootpin install --platform "$PLATFORM" --credentials --yes --json
  listing | sort >/root/after-broken
  step "$1-same" diff /root/before-broken /root/after-broken
  cp -p /root/theirs "$THEIRS"
}

cp -p "$THEIRS" /root/theirs
mkfifo /root/never
step idle rootpin install --platform "$PLATFORM" --credentials --dry-run --json
# shellcheck disable=SC2046 # words
kubelet $(eval "$FLAGS") &
kubelet=$!
ask before r.test/team/app
listing | sort >/root/before-all
# The gate first, so that what is left to write is the kubelet's part alone.
step gate rootpin install --platform "$PLATFORM" --yes --json
install_with missing none
install_with broken '{"kind":'
install_with other-kind "$(sed 's/CredentialProviderConfig/KubeletConfiguration/' /root/theirs)"
install_with twice "$(sed 's/acr-credential-provider/ecr-credential-provider/' /root/theirs)"
install_with nobody "$(sed 's/"providers".*/"providers": []}/' /root/theirs)"
install_with tokens "$(sed 's/"defaultCacheDuration"/"tokenAttributes": {"serviceAccountTokenAudience": "a", "cacheType": "Token", "requireServiceAccount": false}, &/' /root/theirs)"
# The doctor's own words close what it finds.
rootpind_starts
step hole rootpin doctor --json
change=$(grep -o 'rootpin install --platform auto --credentials' /root/hole | head -n 1)
rootpind_stops
# shellcheck disable=SC2086 # words
step install ${change:-false} --yes --json
rootpind_starts
ask given r.test/team/app
ask beta r2.example/team/app
ask withheld r.test/other/app
ask stranger r.test.evil.example/team/app
kill "$kubelet"
wait "$kubelet" 2>/dev/null
# shellcheck disable=SC2046 # words
kubelet $(eval "$FLAGS") &
kubelet=$!
step again rootpin install --platform "$PLATFORM" --credentials --yes --json
step doctor rootpin doctor --json
step status rootpin status --json
rootpind_stops
step uninstall rootpin install --uninstall --yes --json
listing | sort >/root/after-all
step same diff /root/before-all /root/after-all
kill "$kubelet"
ask after r.test/team/app
