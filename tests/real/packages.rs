//! The deb and the rpm: what they do on a booted host from the first installation to the purge, and
//! what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::systemd::Host;

const TOP: &str = env!("CARGO_MANIFEST_DIR");
const NAME: &str = "registry.example/app:1";

/// A folder with the packages of two versions, made of the programs that are tested here, and the
/// files of the first one.
fn packages() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let lab = std::env::var("ROOTPIN_LAB")
            .expect("ROOTPIN_LAB is not set: run these tests by `tests/run`");
        let made = PathBuf::from(lab).join("packages");
        let _ = fs::remove_dir_all(&made);
        let folder = |name: &str| {
            fs::create_dir_all(made.join(name)).unwrap();
            made.join(name).to_str().unwrap().to_owned()
        };
        let (manual, bill, out) = (folder("manual"), folder("bill"), folder("out"));
        // Of the whole workspace, as the tests are: else all dependencies would be built anew.
        run(Command::new("cargo").args([
            "build",
            "--quiet",
            "--locked",
            "--workspace",
            "--example",
            "manual",
        ]));
        let programs = Path::new(env!("CARGO_BIN_EXE_rootpind")).parent().unwrap();
        run(Command::new(programs.join("examples/manual")).arg(&manual));
        run(Command::new("packaging/sbom")
            .args([&bill, "0.1.0"])
            .env("SOURCE_DATE_EPOCH", "1767225600"));
        for (version, kinds) in [("0.1.0", &["deb", "rpm"]), ("0.1.1", &["deb", "rpm"])] {
            run(Command::new("packaging/package")
                .args(["--manual", &manual, "--bill", &bill])
                .arg(programs)
                .arg(&out)
                .args(kinds)
                .env("ROOTPIN_VERSION", version)
                .env("ROOTPIN_COMPRESS", "fast")
                .env("SOURCE_DATE_EPOCH", "1767225600"));
        }
        run(Command::new("dpkg-deb")
            .arg("--extract")
            .arg(package(&made, "deb", "0.1.0"))
            .arg(folder("tree")));
        made
    })
}

/// The files of the first version's deb.
pub(crate) fn tree() -> PathBuf {
    packages().join("tree")
}

/// The deb of a version.
pub(crate) fn deb(version: &str) -> PathBuf {
    package(packages(), "deb", version)
}

fn package(made: &Path, kind: &str, version: &str) -> PathBuf {
    let starts = [format!("rootpin_{version}-"), format!("rootpin-{version}-")];
    let mut files = fs::read_dir(made.join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .find(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            path.extension().is_some_and(|ends| ends == kind)
                && starts.iter().any(|start| name.starts_with(start))
        })
        .unwrap_or_else(|| panic!("no {kind} of {version}"))
}

fn run(command: &mut Command) -> Output {
    let output = command.current_dir(TOP).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn text(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).unwrap()
}

/// The files of the packages' tree below a folder.
fn below(folder: &str) -> Vec<PathBuf> {
    let all = text(
        Command::new("find")
            .arg(packages().join("tree").join(folder))
            .args(["-type", "f"]),
    );
    all.lines().map(PathBuf::from).collect()
}

/// A host with an engine that runs, a policy that configuration management would bring, and the two
/// versions of a package.
fn host(kind: &str) -> Host {
    let host = Host::bare(&format!("packages-{kind}"));
    host.unit(
        "containerd.service",
        "[Service]\nType=exec\nExecStart=/bin/sleep infinity\n",
    );
    host.wanted("multi-user.target", "containerd.service");
    let digest = format!("sha256:{}", "8f".repeat(32));
    host.file(
        "policy.toml",
        format!(
            "version = 1\ndefault = \"deny\"\n[[image]]\nname = \"{NAME}\"\ndigest = \"{digest}\"\n"
        )
        .as_bytes(),
    );
    for (name, version) in [("one", "0.1.0"), ("two", "0.1.1")] {
        let bytes = fs::read(package(packages(), kind, version)).unwrap();
        host.file(&format!("{name}.{kind}"), &bytes);
    }
    host
}

/// Everything that both package managers must do alike, with these commands of theirs.
fn steps(listed: &str, install: &str, upgrade: &str, remove: &str) -> String {
    let digest = format!("sha256:{}", "8f".repeat(32));
    format!(
        "list() {{ find /etc /usr {listed} -printf '%y %m %u %p %l\\n' | grep -v -e /etc/rootpin -e /etc/logrotate.d/rootpin | sort; }}\n\
         engine() {{ systemctl show -p MainPID --value containerd; }}\n\
         until_active containerd; first=$(engine); list >/run/before\n\
         {install} >/run/install 2>&1; echo installed=$?; cat /run/install; echo told=$(grep -c '^rootpin: ' /run/install)\n\
         for unit in {units}; do \
           echo \"$unit=$(systemctl is-enabled $unit) $(systemctl is-active $unit)\"; done\n\
         systemd-analyze verify /usr/lib/systemd/system/rootpin* >/run/verify 2>&1; echo verified=$?; cat /run/verify; echo complaints=$(grep -c rootpin /run/verify)\n\
         echo policy=$(ls /etc/rootpin)\n\
         # what the package says to do\n\
         cp /policy.toml /etc/rootpin/; systemctl enable -q --now rootpind; echo enabled=$?; rootpin state acknowledge; echo acknowledged=$?\n\
         rootpin verify {NAME}@{digest} >/dev/null; echo allowed=$?; rootpin verify {NAME}@sha256:{other} >/dev/null; echo refused=$?\n\
         # an upgrade, while containerd runs each program of the folder, as it does for a pull\n\
         daemon=$(systemctl show -p MainPID --value rootpind); id=$(cat /etc/rootpin/state-id)\n\
         echo '{{\"mediaType\": \"application/vnd.oci.image.manifest.v1+json\", \"digest\": \"{digest}\", \"size\": 1}}' >/run/descriptor\n\
         (pulls=0 failed=0; until [[ -e /run/enough ]]; do for program in $(ls /usr/libexec/rootpin/verifier); do \
           /usr/libexec/rootpin/verifier/$program -name {NAME} -digest {digest} -stdin-media-type application/vnd.oci.descriptor.v1+json </run/descriptor >/run/pull 2>&1 || {{ ((failed += 1)); cp /run/pull /run/failed; }}; ((pulls += 1)); done; done; \
           echo pulls=$pulls; echo failed=$failed; cat /run/failed) & loop=$!\n\
         sleep 1; {upgrade} >/run/upgrade 2>&1; echo upgraded=$?; cat /run/upgrade; sleep 1; touch /run/enough; wait $loop\n\
         [[ $(systemctl show -p MainPID --value rootpind) != \"$daemon\" ]]; echo anew=$?; [[ $(cat /etc/rootpin/state-id) == \"$id\" ]]; echo same=$?\n\
         rootpin verify {NAME}@{digest} >/dev/null; echo still=$?; echo programs=$(ls /usr/libexec/rootpin/verifier | xargs)\n\
         # an engine asks: it would be broken\n\
         mkdir -p /etc/containerd/conf.d; echo 'address = \"/run/rootpin/containerd.gate.sock\"' >/etc/containerd/conf.d/50-rootpin.toml\n\
         {remove} >/run/no 2>&1; echo asked=$?; grep -c 50-rootpin.toml /run/no | sed 's/^/named=/'; echo runs=$(systemctl is-active rootpind)\n\
         rm -r /etc/containerd/conf.d; rmdir --ignore-fail-on-non-empty /etc/containerd\n\
         {remove}; echo removed=$?; list >/run/after; diff /run/before /run/after; echo differs=$?\n\
         echo kept=$(test -e /etc/rootpin/policy.toml -a -n \"$(ls /var/lib/rootpin)\" && echo yes); echo left=$(systemctl list-unit-files --no-legend 'rootpin*' | wc -l)\n\
         [[ $(engine) == \"$first\" ]]; echo engine=$?\n",
        other = "0".repeat(64),
        units = units().join(" "),
    )
}

/// The units that an administrator enables: every socket and timer, and the daemon.
fn units() -> Vec<String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let files = fs::read_dir(folder).unwrap();
    let mut units: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|unit| !unit.ends_with(".service") || unit == "rootpind.service")
        .collect();
    units.sort();
    assert!(units.len() > 5, "{units:?}");
    units
}

fn installs_and_goes(kind: &str, script: &str) {
    let told = host(kind).boot(script, 150);
    for unit in units() {
        assert_eq!(
            told.text(&unit),
            "disabled inactive",
            "{unit}\n{}",
            told.log
        );
    }
    for (name, wanted) in [
        ("installed", "0"),
        ("told", "2"),
        ("verified", "0"),
        ("complaints", "0"),
        ("policy", "rootpin.toml"),
        ("enabled", "0"),
        ("acknowledged", "0"),
        ("allowed", "0"),
        ("refused", "1"),
        ("upgraded", "0"),
        ("failed", "0"),
        ("anew", "0"),
        ("same", "0"),
        ("still", "0"),
        ("programs", "rootpin-verifier"),
        ("asked", "1"),
        ("named", "1"),
        ("runs", "active"),
        ("removed", "0"),
        ("differs", "0"),
        ("kept", "yes"),
        ("left", "0"),
        ("engine", "0"),
    ] {
        assert_eq!(told.text(name), wanted, "{name}\n{}", told.log);
    }
    assert!(told.number("pulls") > 20, "{}", told.log);
    if kind == "deb" {
        assert_eq!(told.text("purged"), "yes", "{}", told.log);
        assert_eq!(told.text("again"), "0", "{}", told.log);
        assert_eq!(told.text("emptied"), "0 0", "{}", told.log);
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_deb_enforces_nothing_upgrades_without_a_failed_pull_goes_without_a_trace_and_keeps_the_floors()
 {
    let purge = "dpkg -P rootpin; echo purged=$(test -e /etc/rootpin/policy.toml -a -n \"$(ls /var/lib/rootpin)\" -a ! -e /etc/rootpin/rootpin.toml && echo yes)\n\
         dpkg -i /one.deb >/dev/null; echo again=$?; ROOTPIN_PURGE_STATE=yes dpkg -P rootpin; \
         list >/run/after; diff /run/before /run/after; echo emptied=$? $(ls -d /etc/rootpin /var/lib/rootpin /var/log/rootpin /etc/logrotate.d/rootpin 2>/dev/null | wc -l)\n";
    let script = steps(
        "",
        "dpkg -i /one.deb",
        "dpkg -i /two.deb",
        "dpkg -r rootpin",
    );
    installs_and_goes("deb", &format!("{script}{purge}"));
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_rpm_does_the_same() {
    // rpm knows none of this Debian's own packages: not what it wants of them, nor their folders.
    let script = steps(
        "-not -type d",
        "rpm -i --nodeps /one.rpm",
        "rpm -U --nodeps /two.rpm",
        "rpm -e rootpin",
    );
    installs_and_goes("rpm", &script);
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn lintian_finds_no_error_in_the_deb_and_the_rpm_holds_the_same_files() {
    let made = packages();
    run(Command::new("lintian")
        .args([
            "--allow-root",
            "--fail-on",
            "error",
            "--no-tag-display-limit",
        ])
        .arg(package(made, "deb", "0.1.0")));
    let of_rpm = text(
        Command::new("rpm")
            .args(["-q", "--list", "--package"])
            .arg(package(made, "rpm", "0.1.0")),
    );
    let mut listed: Vec<_> = of_rpm.lines().collect();
    listed.sort_unstable();
    let tree = made.join("tree");
    for path in below("") {
        let path = format!("/{}", path.strip_prefix(&tree).unwrap().display());
        // The two have other folders for zsh, and Debian's changelog and overrides are Debian's.
        let there = path.replace("vendor-completions", "site-functions");
        let debians =
            path.ends_with("/changelog.Debian.gz") || path.starts_with("/usr/share/lintian/");
        assert!(
            listed.binary_search(&there.as_str()).is_ok() || debians,
            "{path} is not in the rpm"
        );
    }
}

/// The newest symbol of glibc that RHEL 9 and Amazon Linux 2023 have.
const GLIBC: (u32, u32) = (2, 34);

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_rpm_wants_what_rhel_9_has_and_its_scripts_are_of_plain_sh() {
    let file = package(packages(), "rpm", "0.1.0");
    let asked = |what: &str| {
        text(
            Command::new("rpm")
                .args(["-q", what, "--package"])
                .arg(&file),
        )
    };
    let wants = asked("--requires");
    let mut newest = (0, 0);
    for want in wants.lines() {
        let name = want.split_ascii_whitespace().next().unwrap_or_default();
        let library = ["ld-linux-", "libc.so.6", "libgcc_s.so.1", "libm.so.6"];
        let is_known = library.iter().any(|start| name.starts_with(start))
            || [
                "/bin/sh",
                "/usr/bin/sh",
                "/bin/bash",
                "/usr/bin/bash",
                "config(rootpin)",
                "rtld(GNU_HASH)",
            ]
            .contains(&name)
            || name.starts_with("rpmlib(");
        assert!(is_known, "it wants {want:?}: {wants}");
        let symbol = name
            .split_once("(GLIBC_")
            .and_then(|(_, rest)| rest.split_once(')'));
        if let Some((major, minor)) = symbol.and_then(|(symbol, _)| symbol.split_once('.')) {
            let minor = minor.split('.').next().unwrap_or_default();
            newest = newest.max((major.parse().unwrap(), minor.parse().unwrap()));
        }
    }
    assert!(newest > (2, 0) && newest <= GLIBC, "{newest:?}: {wants}");
    let shown = asked("--scripts");
    for script in ["postinstall", "preuninstall", "postuninstall", "posttrans"] {
        let head = format!("{script} scriptlet (using /bin/sh):");
        let (_, rest) = shown
            .split_once(&head)
            .unwrap_or_else(|| panic!("no {script}: {shown}"));
        let body = rest.split("scriptlet (using").next().unwrap_or_default();
        assert!(body.contains("before_removal()"), "{script}: {body}");
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_manual_has_a_page_for_each_verb_and_all_of_them_render() {
    let pages = below("usr/share/man");
    assert!(pages.len() > 50, "{pages:?}");
    let is_helper =
        |page: &std::path::PathBuf| page.ends_with("man1/docker-credential-rootpin.1.gz");
    assert!(pages.iter().any(is_helper), "{pages:?}");
    for page in &pages {
        let rendered = run(Command::new("man")
            .args(["--warnings", "-E", "UTF-8", "--local-file"])
            .arg(page)
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8"));
        assert!(
            rendered.stderr.is_empty(),
            "{}: {}",
            page.display(),
            String::from_utf8_lossy(&rendered.stderr)
        );
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn bash_zsh_and_fish_complete_the_verbs() {
    let share = packages().join("tree/usr/share");
    let shown = share.display();
    let bash = format!(
        ". {shown}/bash-completion/completions/rootpin; COMP_WORDS=(rootpin veri) COMP_CWORD=1; _rootpin rootpin veri rootpin; echo \"${{COMPREPLY[@]}}\""
    );
    let zsh = format!(
        "fpath=({shown}/zsh/vendor-completions $fpath); autoload -Uz compinit; compinit -u -D; autoload +X $_comps[rootpin]; whence -f $_comps[rootpin]"
    );
    let fish = format!(
        "source {shown}/fish/vendor_completions.d/rootpin.fish; complete -C 'rootpin veri'"
    );
    for (shell, script) in [("bash", bash), ("zsh", zsh), ("fish", fish)] {
        let home = packages().join("home");
        fs::create_dir_all(&home).unwrap();
        let said = text(Command::new(shell).args(["-c", &script]).env("HOME", &home));
        assert!(said.contains("verify"), "{shell}: {said}");
    }
}

/// The packages of a tree of sources, laid out with that umask, and made with it below that folder.
fn made_with(umask: &str, temporary: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir_in(temporary).unwrap();
    let script = "cd $FOLDER; umask $UMASK; mkdir top out tmp programs manual bill; \
         (cd $TOP; tar -c --exclude=target packaging docs README.md SECURITY.md CHANGELOG.md Cargo.toml) | tar -x --no-same-permissions -C top; \
         for name in rootpin rootpind rootpin-verifier docker-credential-rootpin rootpin-credential-provider; do install -m 0755 /bin/true programs/$name; done; \
         for shell in bash fish zsh; do mkdir -p manual/completions/$shell; done; mkdir -p manual/man/man1; echo x >manual/man/man1/rootpin.1; \
         for name in rootpin rootpind; do touch manual/completions/bash/$name.bash manual/completions/fish/$name.fish manual/completions/zsh/_$name; done; \
         touch bill/rootpin.cdx.json bill/third-party; \
         TMPDIR=$PWD/tmp top/packaging/package --manual $PWD/manual --bill $PWD/bill $PWD/programs $PWD/out deb rpm";
    run(Command::new("bash")
        .args(["-euc", script])
        .env("FOLDER", folder.path())
        .env("TOP", TOP)
        .env("UMASK", umask)
        .env("DEBFULLNAME", "A Name")
        .env("DEBEMAIL", "a@example.com")
        .env("ROOTPIN_COMPRESS", "fast")
        .env("SOURCE_DATE_EPOCH", "1700000000"));
    let files = fs::read_dir(folder.path().join("out")).unwrap();
    let files = files.map(|file| file.unwrap());
    let file = |file: fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        (name, fs::read(file.path()).unwrap())
    };
    files.map(file).collect()
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn packages_of_the_same_programs_have_the_same_bytes_whatever_the_umask_and_the_file_system() {
    let one = made_with("022", "/tmp");
    assert_eq!(one.len(), 2, "{:?}", one.keys());
    let other = made_with("077", "/dev/shm");
    for (name, bytes) in &one {
        assert!(other.get(name) == Some(bytes), "{name} differs");
    }
}
