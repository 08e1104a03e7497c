//! The Puppet class and the Salt state, applied by Puppet and Salt on booted hosts with systemd and
//! containerd.

use std::fs;
use std::path::Path;

use rootpin_trust::image::Digest;

use crate::packages;
use crate::systemd::Host;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// Each host gets the package from a repository of its own. `apply` runs the recipe with the policy,
/// the unit and the restart that the variables name, and says `failed`, `changed` or `same`.
const SCRIPT: &str = r#"
until_active containerd
export HOME=/root LC_ALL=C.UTF-8
policy=audit service=containerd restart=true
mode() { rootpin policy reload >/dev/null 2>&1; rootpin --json status | grep -o '"mode":"[a-z]*"' | cut -d'"' -f4; }
engine() { systemctl show -p MainPID --value containerd; }
kept() { [[ $(engine) == "$first" ]] && echo kept || echo restarted; }
list() { find /etc /usr /opt /var/cache/rootpin -not -path '*/__pycache__*' -not -name .pwd.lock -printf '%y %m %p %s %T@\n' 2>/dev/null | sort || true; }
told() { local what; what=$(apply "$@"); echo "$what"; [[ $what != failed ]] || tail -n 40 /run/told >>/run/failures; }
apt-get -q update >/run/apt 2>&1 || cat /run/apt
warm; list >/run/one; echo checked=$(told check); list | diff /run/one - && echo untouched=yes
first=$(engine); echo installed=$(told) $(kept) $(mode); first=$(engine); echo again=$(told) $(kept)
policy=enforce; echo enforced=$(told) $(kept) $(mode); rootpin prove >/run/prove 2>&1; echo prove=$?
# the unit refuses its restart, as one does whose new configuration systemd can't load
mkdir -p /run/systemd/system/containerd.service.d
rm -r /etc/containerd/conf.d; printf '[Unit]\nRefuseManualStop=yes\n' >/run/systemd/system/containerd.service.d/no.conf
echo refused=$(told) $(kept) $(ls /etc/containerd/conf.d)
rm /run/systemd/system/containerd.service.d/no.conf; systemctl daemon-reload
service=other; echo other=$(told) $(kept) $(grep -q 'have-engines-ask: an engine runs by an earlier configuration' /run/told && echo named)
service=containerd restart=false; echo left=$(told) $(kept)
restart=true; rootpin --json install --platform auto --dry-run | grep -o '"restart":[[][^]]*]' >/var/cache/rootpin/restarted
echo stuck=$(told) $(kept) $(grep -q 'have-engines-ask: containerd: was restarted, and still' /run/told && echo named); rm /var/cache/rootpin/restarted
echo owed=$(told) $(kept); first=$(engine); echo settled=$(told) $(kept)
policy=bad; echo bad=$(told) $(kept) $(mode) $(ls /etc/rootpin/policy.d) $(grep -c nonsense /etc/rootpin/policy.toml)
policy=fewer; echo fewer=$(told) $(kept) $(mode) $(ls /etc/rootpin/policy.d | wc -l)
cat /run/failures || true
"#;

const POLICIES: [(&str, &str, bool); 4] = [
    ("audit", "mode = \"audit\"\n", true),
    ("enforce", "mode = \"enforce\"\n", true),
    ("bad", "nonsense\n", false),
    ("fewer", "mode = \"enforce\"\n", false),
];

/// Has a host apply a recipe in each way that counts, and compares what came of it.
fn applies(host: &Host, policies: &str, tool: &str) {
    host.containerd("LAB_BIN2");
    // As on a host whose engine the packaged file does not name: rootpind must read what install adds.
    let config = include_str!("../../packaging/rootpin.toml");
    let (before, _) = config.split_once("[[engine]]").unwrap();
    host.file("etc/rootpin/rootpin.toml", before.as_bytes());
    for (name, text, has_fragment) in POLICIES {
        let text = format!("version = 1\ndefault = \"deny\"\n{text}");
        host.file(&format!("{policies}/{name}/policy.toml"), text.as_bytes());
        if has_fragment {
            let revoked = format!(
                "[[revoked]]\ndigest = \"{}\"\nreason = \"a test\"\n",
                Digest::of(b"a layer")
            );
            host.file(
                &format!("{policies}/{name}/policy.d/10-revoked.toml"),
                revoked.as_bytes(),
            );
        }
    }
    // install reads the program of each unit, which takes seconds where rootpin is not optimized.
    host.file(
        "etc/dpkg/dpkg.cfg.d/fewer-units",
        b"path-exclude=/usr/lib/systemd/system/rootpin-*\n",
    );
    repository(host);
    let told = host.boot(&format!("TOP={TOP}\n{tool}\n{SCRIPT}"), 400);
    for (name, wanted) in [
        ("checked", "changed"),
        ("untouched", "yes"),
        ("installed", "changed restarted audit"),
        ("again", "same kept"),
        ("enforced", "changed kept enforce"),
        ("prove", "0"),
        ("refused", "failed kept rootpin.toml"),
        ("other", "failed kept named"),
        ("left", "same kept"),
        ("stuck", "failed kept named"),
        ("owed", "changed restarted"),
        ("settled", "same kept"),
        ("bad", "failed kept enforce 10-revoked.toml 0"),
        ("fewer", "changed kept enforce 0"),
    ] {
        assert_eq!(told.text(name), wanted, "{name}\n{}", told.log);
    }
}

/// The one package that the host's apt finds.
fn repository(host: &Host) {
    let deb = fs::read(packages::deb("0.1.0")).unwrap();
    let control = crate::lab::run(
        std::process::Command::new("dpkg-deb")
            .arg("--field")
            .arg(packages::deb("0.1.0")),
    );
    let index = format!(
        "{}\nFilename: ./rootpin.deb\nSize: {}\nSHA256: {}\n",
        control.trim_end(),
        deb.len(),
        Digest::of(&deb).hex()
    );
    host.file("repository/rootpin.deb", &deb);
    host.file("repository/Packages", index.as_bytes());
    host.file(
        "repository/sources.list",
        b"deb [trusted=yes] file:/repository ./\n",
    );
    host.file(
        "etc/apt/apt.conf.d/99repository",
        b"Dir::Etc::sourcelist \"/repository/sources.list\";\nDir::Etc::sourceparts \"-\";\nAPT::Sandbox::User \"root\";\n",
    );
}

fn recipe(host: &Host, from: &str, to: &str) {
    let file = fs::read(Path::new(TOP).join("packaging").join(from)).unwrap();
    host.file(to, &file);
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn puppet_s_class_makes_a_restart_that_failed_and_puts_no_policy_with_an_error_in_force() {
    let host = Host::over("puppet", &["LAB_PUPPET", "LAB_BARE"]);
    recipe(
        &host,
        "puppet/rootpin/manifests/init.pp",
        "site/modules/rootpin/manifests/init.pp",
    );
    // 0: nothing changed, 2: something did, 4 and 6: something failed
    applies(
        &host,
        "site/modules/site/files",
        r#"warm() { puppet apply -e '' >/dev/null 2>&1; }
apply() {
  local noop=''; [[ ${1-} != check ]] || noop=--noop
  puppet apply $noop --modulepath /site/modules --detailed-exitcodes --color false -e "class { 'rootpin': policy => 'puppet:///modules/site/$policy', engine_service => '$service', restart_engine => $restart }" >/run/told 2>&1
  case $? in 0) if [[ $noop ]] && grep -q noop /run/told; then echo changed; else echo same; fi ;; 2) echo changed ;; *) echo failed ;; esac
}"#,
    );
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn salt_s_state_makes_a_restart_that_failed_and_puts_no_policy_with_an_error_in_force() {
    let host = Host::bare("salt");
    recipe(&host, "salt/rootpin/init.sls", "site/salt/rootpin/init.sls");
    host.file(
        "site/minion",
        b"file_client: local\nfile_roots: {base: [/site/salt]}\nenable_fqdns_grains: false\nid: here\nroot_dir: /var/lib/salt\n",
    );
    applies(
        &host,
        "site/salt",
        r#"warm() { :; }
apply() {
  local test=''; [[ ${1-} != check ]] || test=test=True
  $TOP/target/salt/bin/salt-call --config-dir /site --retcode-passthrough --no-color state.apply rootpin $test \
    pillar="{rootpin: {policy: salt://$policy, engine_service: $service, restart_engine: $restart}}" >/run/told 2>&1 || { echo failed; return; }
  if grep -qE '^Succeeded: [0-9]+ \((changed|unchanged)=' /run/told; then echo changed; else echo same; fi
}"#,
    );
}
