//! A bare Debian 12 with systemd and containerd, from the package to the uninstalled host: what the
//! README has one type, a reboot without a network, an upgrade under pulls.

use std::fs;
use std::path::PathBuf;

use crate::image::{Blob, Image};
use crate::packages;
use crate::systemd::Host;

const REGISTRY: &str = "127.0.0.1:5000";

/// The files of a registry (distribution, docs/spec: its file system driver) that has these images.
fn registry(host: &Host, images: &[(&str, &str, &Image)]) {
    let top = "var/lib/registry/docker/registry/v2";
    let hex = |digest: &str| digest.strip_prefix("sha256:").unwrap().to_owned();
    let put = |repository: &str, kind: &str, blob: &Blob| {
        let digest = blob.digest();
        let hex = hex(&digest);
        host.file(
            &format!("{top}/blobs/sha256/{}/{hex}/data", &hex[..2]),
            &blob.bytes,
        );
        let link = format!("{top}/repositories/{repository}/{kind}/sha256/{hex}/link");
        host.file(&link, digest.as_bytes());
    };
    for (repository, tag, image) in images {
        image
            .blobs
            .iter()
            .for_each(|blob| put(repository, "_layers", blob));
        put(repository, "_manifests/revisions", &image.top);
        let digest = image.digest();
        let tag = format!("{top}/repositories/{repository}/_manifests/tags/{tag}");
        host.file(&format!("{tag}/current/link"), digest.as_bytes());
        host.file(
            &format!("{tag}/index/sha256/{}/link", hex(&digest)),
            digest.as_bytes(),
        );
    }
}

const FIRST: &str = r#"
until_active containerd registry
list >/run/before; cp /run/before /var/lib/before; containerd config dump >/var/lib/dump
export ROOTPIN_PASSPHRASE=correct-horse; cd /root
began=$(date +%s%N)
dpkg -i /one.deb >/dev/null; echo installed=$?
# the README's five commands, those of its publisher among them
rootpin repo init team --names "$REGISTRY/team/**" --publish oci://$REGISTRY/team/trust >/run/init; echo init=$?
rootpin repo sign --repo team $REGISTRY/team/app:v1 --yes >/dev/null; echo sign=$?
systemctl -q enable --now rootpind && rootpin state acknowledge && rootpin install --platform auto --yes >/run/install; echo install=$?
systemctl restart containerd
rootpin pin add team --type tuf --from team/root.json --metadata oci://$REGISTRY/team/trust --match "$REGISTRY/team/**" --fingerprint $(sha256sum team/root.json | cut -c1-64); echo pin=$?
printf '[[image]]\nname = "%s/pause:3.10"\ndigest = "%s"\n' $REGISTRY $PAUSE >>/etc/rootpin/policy.toml; rootpin policy reload >/dev/null; echo reload=$?
ctr images pull --plain-http $REGISTRY/team/app:v2 >/run/v2 2>&1; echo refused=$?; echo code=$(grep -o no-statement /run/v2 | head -n 1)
echo took=$((($(date +%s%N) - began) / 1000000))
rootpin verify $REGISTRY/team/app:v1 >/dev/null; echo verify=$?
ctr images pull --plain-http $REGISTRY/team/app:v1 >/dev/null; echo pulled=$?
ctr -n k8s.io images pull --plain-http $REGISTRY/pause:3.10 >/dev/null; echo pause=$?
rootpin doctor >/run/doctor 2>&1; echo doctor=$?; cat /run/doctor
rootpin status >/dev/null; echo status=$?
"#;

const SECOND: &str = r"
until_active containerd rootpind
echo source=$(systemctl is-active registry)
rootpin verify $REGISTRY/team/app:v1@$APP >/dev/null; echo cached=$?; rootpin verify $REGISTRY/pause:3.10@$PAUSE >/dev/null; echo bound=$?
rootpin verify $REGISTRY/team/app:v2@$PAUSE >/dev/null; echo other=$?
mkdir /run/image; ctr -n k8s.io images mount $REGISTRY/pause:3.10 /run/image >/dev/null; echo resident=$?; ctr -n k8s.io images unmount --rm /run/image >/dev/null
rootpin sweep >/dev/null; echo swept=$?
# an upgrade, while images are pulled
systemctl start registry; for ((i = 0; i < 100; i++)); do (: </dev/tcp/127.0.0.1/5000) 2>/dev/null && break; sleep 0.1; done
(pulls=0 failed=0; until [[ -e /run/enough ]]; do ctr images rm --sync $REGISTRY/team/app:v1 >/dev/null; ctr images pull --plain-http $REGISTRY/team/app:v1 >/run/pull 2>&1 || { ((failed += 1)); cp /run/pull /run/failed; }; ((pulls += 1)); done
  echo pulls=$pulls; echo failed=$failed; cat /run/failed 2>/dev/null) & loop=$!
daemon=$(systemctl show -p MainPID --value rootpind); id=$(cat /etc/rootpin/state-id)
sleep 2; dpkg -i /two.deb >/dev/null; echo upgraded=$?; sleep 2; touch /run/enough; wait $loop
echo version=$(dpkg-query -W -f '${Version}' rootpin) $([[ $(systemctl show -p MainPID --value rootpind) != $daemon && $(cat /etc/rootpin/state-id) == $id ]] && echo anew)
ctr images pull --plain-http $REGISTRY/team/app:v2 >/dev/null 2>&1; echo still=$?
# and away with it
rootpin install --uninstall --yes >/dev/null; echo uninstalled=$?; systemctl restart containerd; echo engine=$?
ROOTPIN_PURGE_STATE=yes dpkg -P rootpin >/dev/null; echo purged=$?
list >/run/after; diff /var/lib/before /run/after; echo differs=$?; containerd config dump | diff /var/lib/dump -; echo dump=$?
ctr images pull --plain-http $REGISTRY/team/app:v2 >/dev/null; echo open=$?
";

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_bare_debian_is_guarded_within_a_minute_through_reboot_and_upgrade_and_is_as_before_when_it_is_over()
 {
    let host = Host::debian("bare");
    host.containerd("LAB_BIN2");
    let program = PathBuf::from(crate::lab::variable("LAB_BIN17")).join("docker-registry");
    host.program("usr/local/bin/docker-registry", &fs::read(program).unwrap());
    host.file(
        "usr/local/etc/registry.yml",
        format!("version: 0.1\nstorage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}\nhttp: {{addr: \"{REGISTRY}\", secret: x}}\n").as_bytes(),
    );
    // Not enabled: after the reboot there is none.
    host.unit("registry.service", "[Service]\nEnvironment=OTEL_TRACES_EXPORTER=none\nExecStart=/usr/local/bin/docker-registry serve /usr/local/etc/registry.yml\n");
    let [app, other, pause] = ["app", "other", "pause"].map(Image::manifest);
    registry(
        &host,
        &[
            ("team/app", "v1", &app),
            ("team/app", "v2", &other),
            ("pause", "3.10", &pause),
        ],
    );
    for (name, version) in [("one", "0.1.0"), ("two", "0.1.1")] {
        host.file(
            &format!("{name}.deb"),
            &fs::read(packages::deb(version)).unwrap(),
        );
    }
    let script = format!(
        "export REGISTRY={REGISTRY} APP={} PAUSE={}\n\
         list() {{ find /etc /usr /lib -printf '%y %m %u:%g %p %l\\n' | sort; find /etc /usr -type f -print0 | sort -z | xargs -0 sha256sum; }}\n\
         first() {{ systemctl start registry\n{FIRST}\n}}\nsecond() {{ {SECOND}\n}}\n\
         if [[ -e /var/lib/first ]]; then cat /var/lib/first; second; else first >/run/first 2>&1; mv /run/first /var/lib/first; systemctl reboot; sleep 60; fi\n",
        app.digest(),
        pause.digest(),
    );
    let told = host.boot(&script, 150);
    for (name, wanted) in [
        ("installed", "0"),
        ("init", "0"),
        ("sign", "0"),
        ("install", "0"),
        ("pin", "0"),
        ("reload", "0"),
        ("refused", "1"),
        ("code", "no-statement"),
        ("verify", "0"),
        ("pulled", "0"),
        ("pause", "0"),
        ("doctor", "0"),
        ("status", "0"),
        ("source", "inactive"),
        ("cached", "0"),
        ("bound", "0"),
        ("other", "1"),
        ("resident", "0"),
        ("swept", "0"),
        ("upgraded", "0"),
        ("failed", "0"),
        ("version", "0.1.1-1 anew"),
        ("still", "1"),
        ("uninstalled", "0"),
        ("engine", "0"),
        ("purged", "0"),
        ("differs", "0"),
        ("dump", "0"),
        ("open", "0"),
    ] {
        assert_eq!(told.text(name), wanted, "{name}\n{}", told.log);
    }
    assert!(told.number("pulls") >= 5, "{}", told.log);
    // An installed package to a refused pull.
    assert!(told.number("took") < 60_000, "{} ms", told.number("took"));
}
