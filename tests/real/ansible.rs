//! The Ansible role, run by ansible-playbook on a host with systemd and containerd.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::packages;
use crate::systemd::Host;

const TOP: &str = env!("CARGO_MANIFEST_DIR");
const INVENTORY: &str = "all:\n  hosts:\n    canary: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}\n  vars:\n    \
    rootpin_policy: \"{{ inventory_dir }}/policy\"\n    rootpin_reports: \"{{ inventory_dir }}/reports\"\n    rootpin_package: /one.deb\n    rootpin_mode: audit\n";
const SCRIPT: &str = r#"
until_active containerd
export HOME=/root ANSIBLE_LOCALHOST_WARNING=False ANSIBLE_NOCOLOR=1 LC_ALL=C.UTF-8
play() { $TOP/target/deploy/bin/ansible-playbook -i /site/inventory.yml /site/ansible/${book:-rollout}.yml "$@" >/run/play 2>&1; echo "$? $(sed -n 's/.*changed=\([0-9]*\).*/\1/p' /run/play | tail -n 1)"; }
mode() { rootpin --json status | grep -o '"mode":"[a-z]*"' | cut -d'"' -f4; }
engine() { systemctl show -p MainPID --value containerd; }
list() { find /etc /usr /opt /var/cache -path /var/cache/ldconfig -prune -o -printf '%y %m %p %s %T@\n' | grep -v -e /etc/.pwd.lock -e __pycache__ | sort; }
list >/run/one; set -- $(play --check --diff); echo checked=$1; (($1)) && tail -n 30 /run/play; list | diff /run/one - && echo untouched=yes
first=$(engine); set -- $(play); echo installed=$1; (($1)) && tail -n 30 /run/play; echo restarted=$([[ $(engine) != $first ]] && echo yes); first=$(engine)
echo again=$(play); grep changed: /run/play; echo audited=$(mode)
set -- $(play -e rootpin_mode=enforce); echo enforced=$1; (($1)) && tail -n 30 /run/play; echo mode=$(mode); grep -A1 'Prove that' /run/play | tail -n 1 | sed 's/^/proof=/'
rm -r /etc/containerd/conf.d; list >/run/one; set -- $(play --check --diff); echo planned=$1 $(grep -c '+++ .*conf.d/rootpin.toml' /run/play); (($1)) && tail -n 30 /run/play; list | diff /run/one - && echo still=yes
first=$(engine); set -- $(play -e rootpin_restart_engine=false -e rootpin_mode=enforce); echo written=$1 $([[ $(engine) == $first ]] && echo same)
set -- $(play -e rootpin_engine_service=other); echo other=$1 $([[ $(engine) == $first ]] && echo same) $(grep -c '^fatal.*name in it containerd' /run/play)
rootpin --json install --platform auto --dry-run | grep -o '"restart":[[]"[^"]*"' | cut -d'"' -f4 | tr -d '\n' >/var/cache/rootpin/restarted
set -- $(play -e rootpin_mode=enforce); echo stuck=$1 $([[ $(engine) == $first ]] && echo same) $(grep -c '^fatal.*was restarted, and still' /run/play); rm /var/cache/rootpin/restarted
set -- $(play -e rootpin_mode=enforce); echo owed=$1 $([[ $(engine) == $first ]] || echo restarted); (($1)) && tail -n 30 /run/play; echo settled=$(play -e rootpin_mode=enforce); first=$(engine)
rm /site/policy/policy.d/10-revoked.toml; echo nonsense >>/site/policy/policy.toml.j2
set -- $(play -e rootpin_mode=enforce); echo bad=$1; echo kept=$(ls /etc/rootpin/policy.d) $(grep -c nonsense /etc/rootpin/policy.toml) $(mode)
echo engine=$([[ $(engine) == $first ]] && echo same); echo report=$(rootpin audit merge /site/reports | grep -c '1 report;')
echo timers=$(systemctl list-timers --all --no-legend 'rootpin*' | wc -l)
book=remove; for run in once twice; do set -- $(play -e rootpin_engine_service=other); echo $run=$1 $(systemctl is-active rootpind) $([[ $(engine) == $first ]] && echo same); done
set -- $(play); echo removed=$1; (($1)) && tail -n 30 /run/play
echo left=$(grep -rl rootpin /etc/containerd | wc -l) $(ls /usr/bin | grep -c rootpin) $([[ $(engine) == $first ]] || echo restarted) $(systemctl is-active rootpind); echo gone=$(play)
"#;

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_ansible_role_changes_nothing_in_its_second_run_and_puts_no_policy_with_an_error_in_force() {
    let host = Host::bare("ansible");
    host.containerd("LAB_BIN2");
    host.file("one.deb", &fs::read(packages::deb("0.1.0")).unwrap());
    host.file("site/inventory.yml", INVENTORY.as_bytes());
    // As on a host whose engine the packaged file does not name: rootpind must read what install adds.
    let config = include_str!("../../packaging/rootpin.toml");
    let (before, _) = config.split_once("[[engine]]").unwrap();
    host.file("etc/rootpin/rootpin.toml", before.as_bytes());
    host.file(
        "site/policy/policy.toml.j2",
        b"version = 1\ndefault = \"deny\"\nmode = \"{{ rootpin_mode }}\"\n",
    );
    host.file(
        "site/policy/policy.d/10-revoked.toml",
        format!(
            "[[revoked]]\ndigest = \"sha256:{}\"\nreason = \"a test\"\n",
            "8f".repeat(32)
        )
        .as_bytes(),
    );
    let role = Path::new(TOP).join("packaging/ansible");
    let listed = Command::new("find")
        .arg(&role)
        .args(["-type", "f", "-printf", "%P\\n"])
        .output();
    for file in String::from_utf8(listed.unwrap().stdout).unwrap().lines() {
        host.file(
            &format!("site/ansible/{file}"),
            &fs::read(role.join(file)).unwrap(),
        );
    }
    let told = host.boot(&format!("TOP={TOP}\n{SCRIPT}"), 600);
    for (name, wanted) in [
        ("checked", "0"),
        ("untouched", "yes"),
        ("installed", "0"),
        ("restarted", "yes"),
        ("again", "0 0"),
        ("audited", "audit"),
        ("enforced", "0"),
        ("mode", "enforce"),
        ("proof", "ok: [canary]"),
        ("planned", "0 1"),
        ("still", "yes"),
        ("written", "0 same"),
        ("other", "2 same 1"),
        ("stuck", "2 same 1"),
        ("owed", "0 restarted"),
        ("settled", "0 0"),
        ("bad", "2"),
        ("kept", "10-revoked.toml 0 enforce"),
        ("engine", "same"),
        ("report", "1"),
        ("timers", "3"),
        ("once", "2 active same"),
        ("twice", "2 active same"),
        ("removed", "0"),
        ("left", "0 0 restarted inactive"),
        ("gone", "0 0"),
    ] {
        assert_eq!(told.text(name), wanted, "{name}\n{}", told.log);
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn ansible_lint_finds_nothing_in_the_role() {
    let bin = Path::new(TOP).join("target/deploy/bin");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    crate::lab::run(
        Command::new(bin.join("ansible-lint"))
            .args(["--offline", "--strict"])
            .current_dir(Path::new(TOP).join("packaging/ansible"))
            .env("PATH", path),
    );
}
