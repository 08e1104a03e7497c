//! What the pods of the Helm chart do to a node: `packaging/kubernetes/node.sh` in a Debian with
//! systemd and containerd, with the rights that the chart gives it and no others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::image::Image;
use crate::lab::{run, write};
use crate::packages;
use crate::systemd::{Host, Told};

const TOP: &str = env!("CARGO_MANIFEST_DIR");
/// `securityContext` of the chart's values, for setpriv.
const RIGHTS: &str = "-all,+chown,+dac_override,+fowner,+sys_chroot,+sys_ptrace";
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// What a node's image has to be, if the policy shall admit it.
const NAME: &str = "registry.example/app:1";

/// A node with containerd, and beside it the files of a pod.
fn node(name: &str) -> Host {
    let host = Host::debian(name);
    host.containerd("LAB_BIN2");
    let tree = packages::tree();
    for program in ["rootpin", "rootpind"] {
        let path = format!("usr/bin/{program}");
        host.program(
            &format!("pod/rootpin/{path}"),
            &fs::read(tree.join(&path)).unwrap(),
        );
    }
    let verifier = "usr/libexec/rootpin/rootpin-verifier";
    host.program(
        &format!("pod/rootpin/{verifier}"),
        &fs::read(tree.join(verifier)).unwrap(),
    );
    for unit in fs::read_dir(Path::new(TOP).join("packaging/systemd")).unwrap() {
        let unit = unit.unwrap();
        let name = unit.file_name().into_string().unwrap();
        host.file(
            &format!("pod/rootpin/usr/lib/systemd/system/{name}"),
            &fs::read(unit.path()).unwrap(),
        );
    }
    for (to, from) in [
        (
            "pod/rootpin/etc/rootpin/rootpin.toml",
            "packaging/rootpin.toml",
        ),
        ("pod/rootpin/node.sh", "packaging/kubernetes/node.sh"),
    ] {
        host.file(to, &fs::read(Path::new(TOP).join(from)).unwrap());
    }
    host.file("chart.tar", &fs::read(image()).unwrap());
    host.file(
        "image.tar",
        &Image::manifest("a node's image").archive(NAME),
    );
    host
}

/// The pod's root with what a container has, and how the script is run in it.
fn head() -> String {
    format!(
        "until_active containerd\n\
         cd /pod; mkdir -p bin dev proc tmp run/rootpin host policy; cp /usr/bin/busybox bin/; chroot /pod /bin/busybox --install -s /bin\n\
         mount --rbind /dev dev; mount --bind /proc proc; mount --rbind / host\n\
         node() {{ setpriv --no-new-privs --bounding-set={RIGHTS} chroot /pod /bin/busybox env PATH=/bin POLICY=/policy \"${{@:2}}\" /bin/sh /rootpin/node.sh $1; }}\n\
         list() {{ find /etc /usr /opt -path /etc/rootpin -prune -o -printf '%y %m %u %p %l\\n' | sort; }}\n\
         engine() {{ systemctl show -p MainPID --value containerd; }}\n\
         before() {{ list >/run/before; containerd config dump >/run/dump; first=$(engine); }}\n\
         as_before() {{ list >/run/after; diff /run/before /run/after; local listed=$?; containerd config dump | cmp - /run/dump; \
           echo \"$1=$listed $? $(systemctl is-active rootpind) $(ls /pod/run/rootpin) $([[ $(engine) == $first ]] && echo same)\"; }}\n\
         policy() {{ printf 'version = 1\\ndefault = \"deny\"\\n%s' \"$1\" >/pod/policy/policy.toml; }}\n\
         began() {{ for ((i = 0; i < 300; i++)); do [[ ! -e /opt/rootpin/.undo/restarted ]] || return 0; sleep 0.1; done; }}\n\
         policy ''\n"
    )
}

fn expect(told: &Told, wanted: &[(&str, &str)]) {
    for (name, wanted) in wanted {
        assert_eq!(told.text(name).trim(), *wanted, "{name}\n{}", told.log);
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_node_is_set_up_once_upgraded_in_place_and_left_as_it_was() {
    let script = "before; node install; echo installed=$?; echo proven=$(cat /pod/run/rootpin/proven)\n\
         echo restarted=$([[ $(engine) == $first ]] || echo yes); /opt/rootpin/bin/rootpin verify registry.example/app:1@sha256:$(printf '0%.0s' {1..64}) >/dev/null; echo refused=$?\n\
         first=$(engine); daemon=$(systemctl show -p MainPID --value rootpind); list >/run/one; node install >/dev/null; echo again=$?\n\
         list >/run/two; diff /run/one /run/two; echo changed=$? $([[ $(engine) == $first && $(systemctl show -p MainPID --value rootpind) == $daemon ]] && echo same)\n\
         # another policy, and a unit of another version\n\
         policy $'[[image]]\\nname = \"registry.example/app:1\"\\ndigest = \"sha256:'$(printf '0%.0s' {1..64})$'\"\\n'; echo '# 2' >>/pod/rootpin/usr/lib/systemd/system/rootpind.service\n\
         node install >/dev/null; echo upgraded=$?; grep -c '# 2' /etc/systemd/system/rootpind.service | sed 's/^/unit=/'\n\
         echo engine=$([[ $(engine) == $first ]] && echo same); /opt/rootpin/bin/rootpin verify registry.example/app:1@sha256:$(printf '0%.0s' {1..64}) >/dev/null; echo admitted=$?\n\
         node uninstall; echo uninstalled=$?; first=; as_before after; echo kept=$(ls /var/lib/rootpin | grep -c state)\n\
         node uninstall; echo nothing=$?\n";
    let told = node("kubernetes").boot(&format!("{}{script}", head()), 120);
    expect(
        &told,
        &[
            ("installed", "0"),
            ("proven", "proven"),
            ("restarted", "yes"),
            ("refused", "1"),
            ("again", "0"),
            ("changed", "0 same"),
            ("upgraded", "0"),
            ("unit", "1"),
            ("engine", "same"),
            ("admitted", "0"),
            ("uninstalled", "0"),
            ("after", "0 0 inactive proven"),
            ("kept", "1"),
            ("nothing", "0"),
        ],
    );
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_node_where_a_step_fails_or_the_pod_is_killed_is_as_it_was_and_keeps_its_taint() {
    let script = "before; echo nonsense >/pod/policy/policy.toml; node install; echo bad=$?; as_before policy; policy ''\n\
         echo x >/etc/systemd/system/rootpin-audit.timer; before; node install; echo foreign=$?; as_before file; rm /etc/systemd/system/rootpin-audit.timer; before\n\
         node install UNIT=no-such.service; echo unit=$?; as_before no_unit; first=$(engine)\n\
         node install EXCEPT=no/such; echo unproven=$?; as_before unproven_node; first=$(engine)\n\
         node install & began; node install; echo second=$?\n\
         for process in $(grep -l node.sh /proc/[0-9]*/cmdline | cut -d/ -f3); do kill -KILL $process 2>/dev/null; done; wait\n\
         echo half=$(ls -A /opt/rootpin | grep -c undo); node uninstall; echo killed=$?; first=$(engine); as_before killed_node\n\
         node install & began; kill -TERM $(readlink /run/rootpin-node.lock); wait $!; echo ended=$?; first=$(engine); as_before ended_node\n\
         # somebody edits what rootpin wrote, so that the engine can't be taken back: it goes on asking, and is answered\n\
         node install EXCEPT=no/such & began; drop=$(grep -rl /run/rootpin/ /etc/containerd/conf.d); cp $drop /run/drop; sed -i 's,/run/rootpin/,/run/nobody/,' $drop; wait $!; echo edited=$?\n\
         echo answered=$(systemctl is-active rootpind) $(ls -A /opt/rootpin | grep -c undo) $(ls /opt/rootpin/bin | xargs)\n\
         cp /run/drop $drop; node uninstall; echo later=$?; first=$(engine); as_before edited_node\n\
         ctr -n k8s.io images import --no-unpack /image.tar >/dev/null; first=$(engine); node install; echo not_admitted=$?; as_before images\n\
         policy 'mode = \"audit\"'; node install >/dev/null; echo audited=$?; echo mode=$(cat /pod/run/rootpin/proven)\n\
         ctr -n other images import --digests --base-name chart /chart.tar; echo imported=$?\n";
    let told = node("kubernetes-fails").boot(&format!("{}{script}", head()), 150);
    expect(
        &told,
        &[
            ("bad", "1"),
            ("policy", "0 0 inactive  same"),
            ("foreign", "1"),
            ("file", "0 0 inactive  same"),
            ("unit", "1"),
            ("no_unit", "0 0 inactive  same"),
            ("unproven", "1"),
            ("unproven_node", "0 0 inactive"),
            ("second", "1"),
            ("half", "1"),
            ("killed", "0"),
            ("killed_node", "0 0 inactive  same"),
            ("ended", "1"),
            ("ended_node", "0 0 inactive  same"),
            ("edited", "1"),
            ("answered", "active 1 rootpin rootpin-verifier rootpind"),
            ("later", "0"),
            ("edited_node", "0 0 inactive  same"),
            ("not_admitted", "1"),
            ("images", "0 0 inactive  same"),
            ("audited", "0"),
            ("mode", "audit"),
            ("imported", "0"),
        ],
    );
}

/// As on nodes whose engine the packaged rootpin.toml does not name: k3s, RKE2, k0s, `MicroK8s`.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn an_engine_that_rootpin_toml_did_not_name_has_its_images_judged_and_is_answered_before_it_asks() {
    let script = "mkdir -p /etc/rootpin; sed '/^\\[\\[engine\\]\\]/,$d' /pod/rootpin/etc/rootpin/rootpin.toml >/etc/rootpin/rootpin.toml; cp /etc/rootpin/rootpin.toml /run/plain; before\n\
         ctr -n k8s.io images import --no-unpack /image.tar >/dev/null; node install; echo not_admitted=$?; as_before images; cmp /run/plain /etc/rootpin/rootpin.toml; echo config=$?\n\
         ctr -n k8s.io images ls -q | xargs ctr -n k8s.io images rm --sync >/dev/null; node install; echo installed=$?; echo proven=$(cat /pod/run/rootpin/proven)\n\
         daemon=$(systemctl show -p MainPID --value rootpind); node install >/dev/null; echo again=$? $([[ $(systemctl show -p MainPID --value rootpind) == $daemon ]] && echo same)\n";
    let told = node("kubernetes-unnamed").boot(&format!("{}{script}", head()), 120);
    expect(
        &told,
        &[
            ("not_admitted", "1"),
            ("images", "0 0 inactive  same"),
            ("config", "0"),
            ("installed", "0"),
            ("proven", "proven"),
            ("again", "0 same"),
        ],
    );
}

/// An image like the chart's, of programs that are static: busybox, in rootpin's place.
fn image() -> PathBuf {
    let folder = Path::new(&std::env::var("ROOTPIN_LAB").unwrap()).join("image");
    let _ = fs::remove_dir_all(&folder);
    let busybox = Path::new(&crate::lab::variable("LAB_BARE")).join("usr/bin/busybox");
    let tree = folder.join("rootpin-0.1.0-static");
    for program in [
        "usr/bin/rootpin",
        "usr/bin/rootpind",
        "usr/libexec/rootpin/rootpin-verifier",
    ] {
        let path = tree.join(program);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(&busybox, path).unwrap();
    }
    write(&tree.join("etc/rootpin/rootpin.toml"), "");
    let tarball = folder.join("static.tar.xz");
    run(Command::new("tar")
        .arg("-C")
        .arg(&folder)
        .arg("-cJf")
        .arg(&tarball)
        .arg("rootpin-0.1.0-static"));
    let out = |name: &str| {
        let out = folder.join(name);
        run(Command::new("packaging/image")
            .arg(&tarball)
            .arg(&out)
            .arg("--busybox")
            .arg(&busybox)
            .env("SOURCE_DATE_EPOCH", "1767225600")
            .current_dir(TOP));
        out
    };
    let (one, two) = (out("one.tar"), out("two.tar"));
    assert_eq!(
        fs::read(&one).unwrap(),
        fs::read(two).unwrap(),
        "built twice"
    );
    one
}

/// What the chart becomes with these values: its objects. `None`: helm refuses the values.
fn rendered(values: &str) -> Option<Vec<Value>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    fs::write(&file, values).unwrap();
    let output = Command::new(Path::new(TOP).join("target/deploy/bin/python"))
        .args(["tests/deploy/render", "packaging/helm/rootpin"])
        .arg(&file)
        .current_dir(TOP)
        .output()
        .expect("target/deploy is made by tests/run");
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let judged = matches!(output.status.code(), Some(0 | 1)) && !said.contains("Traceback");
    assert!(judged, "{said}");
    let objects = text.lines().map(|line| serde_json::from_str(line).unwrap());
    output.status.success().then(|| objects.collect())
}

/// Each container, with its pod.
fn containers(objects: &[Value]) -> Vec<(&Value, &Value)> {
    let pods = objects
        .iter()
        .filter_map(|object| object.pointer("/spec/template/spec"));
    let of = |pod: &'_ Value, kind: &str| pod[kind].as_array().cloned().unwrap_or_default().len();
    let mut found = Vec::new();
    for pod in pods {
        for kind in ["initContainers", "containers"] {
            found.extend((0..of(pod, kind)).map(|number| (pod, &pod[kind][number])));
        }
    }
    found
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_container_that_changes_the_node_has_no_token_and_the_one_with_a_token_has_no_right() {
    let values = format!(
        "image: {{repository: r.example/rootpin, digest: \"{DIGEST}\"}}\nconfig: x = 1\npolicy: {{source: chart, files: {{policy.toml: a, roots/b.json: c}}}}\n"
    );
    let objects = rendered(&values).unwrap();
    let containers = containers(&objects);
    assert_eq!(containers.len(), 5, "{containers:?}");
    let rights = RIGHTS.split(",+").skip(1).map(str::to_uppercase);
    let rights = rights.collect::<Vec<_>>();
    for (pod, container) in containers {
        assert_eq!(container["image"], format!("r.example/rootpin@{DIGEST}"));
        assert_eq!(pod["automountServiceAccountToken"], false);
        let mounts = container["volumeMounts"].as_array().cloned();
        let mounts = mounts.unwrap_or_default();
        let has = |name: &str| mounts.iter().any(|mount| mount["name"] == name);
        let security = &container["securityContext"];
        assert_eq!(security["privileged"], false, "{container}");
        assert_eq!(
            security["capabilities"]["drop"],
            json!(["ALL"]),
            "{container}"
        );
        if has("host") {
            assert!(!has("token"), "{container}");
            assert_eq!(
                security["capabilities"]["add"],
                json!(rights),
                "{container}"
            );
        } else {
            assert_eq!(security["runAsNonRoot"], true, "{container}");
            assert!(security["capabilities"].get("add").is_none(), "{container}");
        }
    }
    let policy = objects.iter().find(|object| object["kind"] == "ConfigMap");
    let data = json!({ "policy.toml": "a", "roots__b.json": "c" });
    assert_eq!(policy.unwrap()["data"], data);
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_chart_without_a_digest_a_policy_without_a_file_and_a_misspelt_value_are_refused() {
    let image = format!("image: {{repository: r.example/rootpin, digest: \"{DIGEST}\"}}\n");
    for (good, tokens) in [
        ("", 2),
        ("taint: {remove: false}\n", 1),
        ("policy: {source: configMap, configMap: {name: trust}}\n", 2),
        ("cleanup: {enabled: false}\n", 1),
        ("host: {prefix: /rootpin}\n", 2),
        ("host: {prefix: /var/lib/rootpin}\n", 2),
        ("host: {prefix: /usr/local/rootpin}\n", 2),
    ] {
        let objects = rendered(&format!("{image}{good}")).unwrap_or_else(|| panic!("{good}"));
        let with = containers(&objects);
        let with = with
            .iter()
            .filter(|(_, one)| one.to_string().contains("\"token\""));
        assert_eq!(with.count(), tokens, "{good}");
    }
    for bad in [
        "image: {repository: r.example/rootpin, tag: v1}\n".to_owned(),
        "image: {repository: r.example/rootpin}\n".to_owned(),
        format!("{image}policy: {{source: chart}}\n"),
        format!("{image}policy: {{source: chart, files: {{../x: y, policy.toml: z}}}}\n"),
        format!("{image}host: {{prefix: opt}}\n"),
        format!("{image}host: {{prefix: /usr/lib}}\n"),
        format!("{image}host: {{prefix: /var/lib}}\n"),
        format!("{image}host: {{prefix: /etc/systemd}}\n"),
        format!("{image}taints: {{key: x}}\n"),
    ] {
        assert!(rendered(&bad).is_none(), "{bad}");
    }
}

/// The pod of each `DaemonSet`, and that of the Job, which runs on one node.
fn pods(values: &str) -> (Vec<Value>, Value) {
    let image = format!("image: {{repository: r.example/rootpin, digest: \"{DIGEST}\"}}\n");
    let objects = rendered(&format!("{image}{values}")).unwrap();
    let of = |kind: &str| {
        let objects = objects.iter().filter(|object| object["kind"] == kind);
        let pods = objects.map(|object| object.pointer("/spec/template/spec").unwrap().clone());
        pods.collect::<Vec<_>>()
    };
    (of("DaemonSet"), of("Job").remove(0))
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn no_pod_that_sets_up_a_node_runs_on_fargate_or_a_virtual_node_whatever_affinity_is_given() {
    let real = json!([
        { "key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["fargate"] },
        { "key": "type", "operator": "NotIn", "values": ["virtual-kubelet"] },
    ]);
    let given = json!({ "key": "pool", "operator": "In", "values": ["a"] });
    let both = json!([given, real[0], real[1]]);
    let field = json!([{ "key": "metadata.name", "operator": "In", "values": ["n"] }]);
    let terms = "nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [a]}]}, {matchFields: [{key: metadata.name, operator: In, values: [n]}]}]";
    for (values, terms) in [
        (String::new(), json!([{ "matchExpressions": real }])),
        (
            format!(
                "affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{{terms}}}}}}}\n"
            ),
            json!([{ "matchExpressions": both }, { "matchExpressions": real, "matchFields": field }]),
        ),
        // A term without conditions fits no node.
        (
            "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}]}}}\n".to_owned(),
            json!([{}]),
        ),
    ] {
        let (nodes, _) = pods(&values);
        assert_eq!(nodes.len(), 2);
        for pod in nodes {
            let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
            let found = &pod.pointer(required).unwrap()["nodeSelectorTerms"];
            assert_eq!(*found, terms, "{values}");
        }
    }
    let spread =
        "affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}\n";
    for pod in pods(spread).0 {
        let kinds: Vec<_> = pod["affinity"].as_object().unwrap().keys().collect();
        assert_eq!(kinds, ["nodeAffinity", "podAntiAffinity"]);
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_pods_of_nodes_tolerate_every_taint_and_the_job_that_waits_for_them_no_node_that_is_away() {
    let exists = |key: &str| json!({ "key": key, "operator": "Exists" });
    let (nodes, job) = pods("");
    for pod in nodes {
        assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
    }
    let plane = exists("node-role.kubernetes.io/control-plane");
    assert_eq!(
        job["tolerations"],
        json!([exists("rootpin/not-ready"), plane])
    );
    let own = "taint: {key: x/y}\ncleanup: {tolerations: [{key: pool, operator: Exists}]}\n";
    assert_eq!(
        pods(own).1["tolerations"],
        json!([exists("x/y"), exists("pool")])
    );
    // Where every worker has a taint of its own: as docs/kubernetes.md has it.
    let page = fs::read_to_string(Path::new(TOP).join("docs/kubernetes.md")).unwrap();
    let (_, page) = page.split_once("every worker has a taint").unwrap();
    let values = page.split("```").nth(1).unwrap().replacen("yaml\n", "", 1);
    let worker = json!({
        "key": "dedicated", "operator": "Equal", "value": "batch", "effect": "NoSchedule"
    });
    let found = pods(&values).1;
    assert_eq!(
        found["tolerations"],
        json!([exists("rootpin/not-ready"), plane, worker])
    );
    let none = pods("cleanup: {tolerations: []}\n").1;
    assert_eq!(none["tolerations"], json!([exists("rootpin/not-ready")]));
}
