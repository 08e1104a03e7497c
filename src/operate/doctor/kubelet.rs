//! Has a kubelet ask rootpin's credential provider in place of its own ones, which rootpind asks
//! then: by the flags of a platform, or by the file that a managed kubelet reads.

use std::path::{Path, PathBuf};

use toml_edit::value;

use super::credentials::kubelet_flags;
use super::fix::{self, FileEdit};
use super::provider::{FILE, own_config};
use super::unit::{assignments, split};
use super::{Tools, program};
use crate::config::{self, Config};
pub(crate) use crate::credentials::OWN_PROVIDER;
use crate::credentials::{Provider, read_kubelet_config};
use crate::operate::platform::{Kubelet, KubeletFlags, Platform};
use crate::problem::Problem;

/// The others' file, where the kubelet's own place is taken.
const THEIRS: &str = "kubelet-credential-providers";
/// The programs' folder, where the kubelet's flags may name it.
const PROGRAMS: &str = "/usr/libexec/rootpin/credential-provider";
const VARIABLE: &str = "KUBELET_EXTRA_ARGS=";
/// Where kubeadm has the flags that it gives the kubelet.
const KUBEADMS_FLAGS: &str = "/var/lib/kubelet/kubeadm-flags.env";

/// What is to be written.
#[derive(Debug)]
pub(crate) struct KubeletPlan {
    /// rootpin.toml, as it will be.
    pub(crate) config: Config,
    pub(crate) text: String,
    pub(crate) texts: Vec<FileEdit>,
    pub(crate) program: Option<(PathBuf, PathBuf)>,
    /// What puts it in force.
    pub(crate) restart: &'static str,
}

/// The kubelet's real providers.
struct RealProviders {
    config: PathBuf,
    programs: PathBuf,
}

/// Plans it. `text` is rootpin.toml at `path`; `is_image`: no kubelet is looked for.
///
/// # Errors
/// The kubelet has no providers, or one that can't be asked by anybody else.
pub(crate) fn plan(
    platform: &Platform,
    (path, text): (&Path, &str),
    tools: &Tools,
    own: &Path,
    is_image: bool,
) -> Result<KubeletPlan, Problem> {
    let Some(kubelet) = platform.kubelet else {
        return Err(Problem::hinted(
            format!(
                "how a kubelet of {} is told of credential providers is not known",
                platform.name
            ),
            "docs/credentials.md has the two flags that it must be started with",
        ));
    };
    let config = config::parse(text)?;
    let theirs = real(&kubelet, &config, path, is_image)?;
    let providers = read_kubelet_config(&theirs.config)?;
    check(&providers, &theirs.config)?;
    let in_place = kubelet.flags == KubeletFlags::InPlace;
    let kept = if in_place {
        kept(path, &theirs.config)
    } else {
        theirs.config.clone()
    };
    let text = named(text, &kept, &theirs.programs)?;
    let folder = if in_place {
        theirs.programs.clone()
    } else {
        tools.folder.parent().map_or_else(
            || PROGRAMS.into(),
            |above| above.join("credential-provider"),
        )
    };
    let to = folder.join(OWN_PROVIDER);
    let mut texts = Vec::new();
    let own_text = own_config(&providers, tools.control.as_deref());
    if in_place {
        let present = read(&theirs.config)?;
        if theirs.config != kept {
            texts.push(edit(&kept, present.unwrap_or_default())?);
        }
        texts.push(edit(&place(&kubelet, &theirs.config), own_text)?);
    } else {
        let own_file = path.with_file_name(FILE);
        let flags = [
            ("image-credential-provider-config", own_file.clone()),
            ("image-credential-provider-bin-dir", folder),
        ];
        texts.push(edit(&own_file, own_text)?);
        texts.push(flags_file(kubelet.flags, &flags)?);
    }
    texts.retain(|edit| edit.before.as_ref() != Some(&edit.after));
    if !program::is_program(&to) && !program::is_program(own) {
        return Err(Problem::hinted(
            format!("{} is not there", own.display()),
            "put rootpin-credential-provider beside rootpin, and run this again",
        ));
    }
    Ok(KubeletPlan {
        config: config::parse(&text)?,
        text,
        texts,
        program: program::is_to_be_copied(own, &to)?.then(|| (own.to_owned(), to)),
        restart: kubelet.restart,
    })
}

/// kubeadm's drop-in of kubelet.service, as packages and administrators place it.
fn kubeadms_drop_ins() -> Vec<String> {
    [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ]
    .iter()
    .map(|folder| Path::new(folder).join("kubelet.service.d/10-kubeadm.conf"))
    .filter_map(|path| read(&path).ok().flatten())
    .collect()
}

/// The file of `KUBELET_EXTRA_ARGS` that the kubelet reads: the one that its drop-in names, one that
/// is there, or else the last whose folder is there. Both folders are there on Fedora and its kin,
/// where the drop-in names the last.
fn arguments_file<'a>(
    files: &[&'a str],
    drop_ins: &[String],
    exists: &dyn Fn(&Path) -> bool,
) -> &'a str {
    let line = |line: &str, file: &str| {
        let value = line.trim().strip_prefix("EnvironmentFile=");
        value.is_some_and(|value| value.trim_start_matches('-') == file)
    };
    let is_named = |file: &&&str| {
        let mut lines = drop_ins.iter().flat_map(|text| text.lines());
        lines.any(|one| line(one, file))
    };
    let is_there = |file: &&&str| exists(Path::new(file));
    let has_folder = |file: &&&str| Path::new(file).parent().is_some_and(exists);
    let found = files.iter().find(is_named);
    let found = found.or_else(|| files.iter().find(is_there));
    let found = found.or_else(|| files.iter().rev().find(has_folder));
    found.or(files.first()).copied().unwrap_or_default()
}

/// The providers that rootpin.toml names, those of the kubelet that runs, or those of the platform.
fn real(
    kubelet: &Kubelet,
    config: &Config,
    path: &Path,
    is_image: bool,
) -> Result<RealProviders, Problem> {
    let running = (!is_image).then(kubelet_flags).flatten();
    let running = running.or_else(|| flags_of_files(kubelet));
    let usual = kubelet.configs.iter().map(PathBuf::from);
    let usual = usual
        .map(|config| (config, PathBuf::from(kubelet.programs)))
        .find(|(config, _)| config.exists());
    let settings = &config.credentials;
    let set = settings
        .kubelet_config
        .clone()
        .zip(settings.kubelet_bin_dir.clone());
    let (present, programs) = running.or(usual).or(set.clone()).ok_or_else(|| {
        Problem::hinted(
            "the kubelet has no credential providers that rootpin could stand before",
            "name them by kubelet-config and kubelet-bin-dir in [credentials] of rootpin.toml, and run this again",
        )
    })?;
    // What is there may be rootpin's own: of an earlier time.
    let is_ours = |file: &Path| {
        read_kubelet_config(file).is_ok_and(|providers| {
            providers
                .iter()
                .all(|provider| provider.name == OWN_PROVIDER)
        })
    };
    if !is_ours(&present) {
        return Ok(RealProviders {
            config: present,
            programs,
        });
    }
    let (config, programs) = set
        .filter(|(config, _)| !is_ours(config))
        .or_else(|| Some((kept(path, &present), programs)).filter(|(config, _)| config.exists()))
        .ok_or_else(|| {
            Problem::hinted(
                format!("{} names rootpin's provider alone, and where the others are is not known", present.display()),
                "name them by kubelet-config and kubelet-bin-dir in [credentials] of rootpin.toml, and run this again",
            )
        })?;
    Ok(RealProviders { config, programs })
}

/// A provider that only the kubelet can ask for a pod would answer for the host, or not at all.
fn check(providers: &[Provider], file: &Path) -> Result<(), Problem> {
    match providers
        .iter()
        .find(|provider| provider.takes_service_account())
    {
        None => Ok(()),
        Some(provider) => Err(Problem::hinted(
            format!(
                "{}: {} has tokenAttributes: it works for a pod's service account, whose token the kubelet gives nobody else",
                file.display(),
                crate::observe::plain(&provider.name)
            ),
            "leave the kubelet's credential providers as they are, and guard containerd",
        )),
    }
}

/// The flags that a kubelet which does not run will be started with, as kubeadm's drop-in has them:
/// those that kubeadm wrote, then the administrator's; of a flag the last counts.
fn flags_of_files(kubelet: &Kubelet) -> Option<(PathBuf, PathBuf)> {
    let KubeletFlags::ExtraArguments(files) = kubelet.flags else {
        return None;
    };
    let own = Path::new(arguments_file(files, &kubeadms_drop_ins(), &Path::exists));
    let texts = [Path::new(KUBEADMS_FLAGS), own].map(|file| read(file).ok().flatten());
    flags_of(&texts.map(Option::unwrap_or_default))
}

fn flags_of(texts: &[String; 2]) -> Option<(PathBuf, PathBuf)> {
    let [kubeadms, own] = texts;
    let value = |text: &str, name: &str| {
        let all = assignments(text)?.into_iter().rev();
        let mut of_it = all.filter(|(key, _)| key == name);
        of_it.next().map(|(_, value)| value)
    };
    let all = [
        value(kubeadms, "KUBELET_KUBEADM_ARGS"),
        value(own, VARIABLE.trim_end_matches('=')),
    ];
    let given = all.iter().flatten().flat_map(|value| split(value, false));
    let program = std::iter::once("kubelet".to_owned());
    let words: Vec<String> = program.chain(given.map(|(word, _)| word)).collect();
    let path = |option| {
        let path = PathBuf::from(super::process::options(&words, &[option]).pop()?);
        path.is_absolute().then_some(path)
    };
    path("image-credential-provider-config").zip(path("image-credential-provider-bin-dir"))
}

/// Where the others' file is kept, when rootpin's takes its place.
fn kept(config: &Path, theirs: &Path) -> PathBuf {
    let extension = theirs
        .extension()
        .and_then(|text| text.to_str())
        .unwrap_or("yaml");
    config.with_file_name(format!("{THEIRS}.{extension}"))
}

/// The file that the kubelet reads, whether it is theirs or already rootpin's.
fn place(kubelet: &Kubelet, theirs: &Path) -> PathBuf {
    let known = kubelet.configs.iter().map(PathBuf::from);
    known
        .clone()
        .find(|config| config == theirs)
        .or_else(|| known.into_iter().find(|config| config.exists()))
        .unwrap_or_else(|| theirs.to_owned())
}

/// rootpin.toml with the place of the others.
fn named(text: &str, config: &Path, programs: &Path) -> Result<String, Problem> {
    let mut text = text.to_owned();
    for (key, path) in [("kubelet-config", config), ("kubelet-bin-dir", programs)] {
        let to = value(path.display().to_string());
        let now: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
        let present = now
            .get("credentials")
            .and_then(|table| table.get(key)?.as_str());
        if present != path.to_str() {
            text = fix::set(&text, &["credentials", key], to)?;
        }
    }
    Ok(text)
}

fn flags_file(way: KubeletFlags, flags: &[(&str, PathBuf); 2]) -> Result<FileEdit, Problem> {
    let words = |indent: &str| {
        flags.iter().fold(String::new(), |lines, (flag, path)| {
            lines + &format!("{indent}--{flag}={}\n", path.display())
        })
    };
    match way {
        KubeletFlags::NodeConfig(file) => edit(
            Path::new(file),
            format!(
                "# Written by rootpin: nodeadm starts the kubelet with these flags at each boot.\n\
                 apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  kubelet:\n    flags:\n{}",
                words("    - ")
            ),
        ),
        KubeletFlags::ServerConfig(file) => {
            let keys = flags.iter().fold(String::new(), |lines, (flag, path)| {
                lines + &format!("{flag}: {}\n", path.display())
            });
            edit(Path::new(file), format!("# Written by rootpin.\n{keys}"))
        }
        KubeletFlags::ExtraArguments(files) => {
            let path = Path::new(arguments_file(files, &kubeadms_drop_ins(), &Path::exists));
            let before = read(path)?;
            let all = words("").replace('\n', " ");
            let after = with_arguments(before.as_deref().unwrap_or_default(), all.trim_end());
            Ok(FileEdit {
                path: path.to_owned(),
                before,
                after: after.ok_or_else(|| {
                    Problem::hinted(
                        format!("{}: {VARIABLE} is not understood", path.display()),
                        format!("add to it: {}", all.trim_end()),
                    )
                })?,
                mode: 0o644,
            })
        }
        KubeletFlags::InPlace => Err("a managed kubelet takes no flags".into()),
    }
}

/// The file of systemd's variables with more words in the kubelet's. The last of a flag counts.
/// None: systemd would not read the result as what is there and these words.
fn with_arguments(text: &str, words: &str) -> Option<String> {
    let now = arguments(text)?;
    if now.contains(words) {
        return Some(text.to_owned());
    }
    let after = appended(text, words)?;
    let space = if now.is_empty() { "" } else { " " };
    (arguments(&after)? == format!("{now}{space}{words}")).then_some(after)
}

/// The words that a file of systemd's variables gives the kubelet, as systemd reads it.
fn arguments(text: &str) -> Option<String> {
    let name = VARIABLE.trim_end_matches('=');
    let all = assignments(text)?.into_iter().rev();
    let mut of_it = all.filter(|(key, _)| key == name);
    Some(of_it.next().map(|(_, value)| value).unwrap_or_default())
}

fn appended(text: &str, words: &str) -> Option<String> {
    let Some(line) = text.lines().rev().find(|line| line.starts_with(VARIABLE)) else {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        return Some(format!("{text}{end}{VARIABLE}\"{words}\"\n"));
    };
    let value = line.strip_prefix(VARIABLE)?;
    let bare = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let (quote, inner) = match (bare('"'), bare('\'')) {
        (Some(inner), _) => ('"', inner),
        (_, Some(inner)) => ('\'', inner),
        // systemd takes a value without quotes up to the line's end.
        _ => ('"', value.trim_end()),
    };
    if inner.contains(['"', '\'', '\\']) {
        return None;
    }
    let space = if inner.is_empty() { "" } else { " " };
    let new = format!("{VARIABLE}{quote}{inner}{space}{words}{quote}");
    let at = text.rfind(line)?;
    let (head, rest) = text.split_at_checked(at)?;
    Some(format!("{head}{new}{}", rest.get(line.len()..)?))
}

fn edit(path: &Path, after: String) -> Result<FileEdit, Problem> {
    Ok(FileEdit {
        path: path.to_owned(),
        before: read(path)?,
        after,
        mode: 0o644,
    })
}

fn read(path: &Path) -> Result<Option<String>, Problem> {
    fix::text(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_go_to_the_file_that_the_kubelet_reads() {
        let files = ["/etc/default/kubelet", "/etc/sysconfig/kubelet"];
        let of = |drop_ins: &[&str], there: &[&str]| {
            let drop_ins: Vec<String> = drop_ins.iter().map(ToString::to_string).collect();
            arguments_file(&files, &drop_ins, &|path: &Path| {
                there.iter().any(|one| Path::new(one) == path)
            })
        };
        let both = ["/etc/default", "/etc/sysconfig"];
        let rpm = "[Service]\nEnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env\nEnvironmentFile=-/etc/sysconfig/kubelet\n";
        let deb = "EnvironmentFile=-/etc/default/kubelet\n";
        assert_eq!(of(&[rpm], &both), files[1]);
        assert_eq!(of(&[deb], &both), files[0]);
        assert_eq!(of(&[], &["/etc/default", "/etc/default/kubelet"]), files[0]);
        assert_eq!(of(&[], &both), files[1]);
        assert_eq!(of(&[], &["/etc/default"]), files[0]);
        assert_eq!(of(&[], &[]), files[0]);
    }

    #[test]
    fn the_flags_of_a_kubelet_that_does_not_run_are_read_as_kubeadm_s_drop_in_gives_them() {
        let of = |kubeadms: &str, own: &str| {
            flags_of(&[kubeadms.to_owned(), own.to_owned()])
                .map(|(config, programs)| [config, programs].map(|path| path.display().to_string()))
        };
        let both = |folder: &str| {
            format!(
                "--image-credential-provider-config={folder}/c.yaml --image-credential-provider-bin-dir {folder}/bin"
            )
        };
        let paths = |folder: &str| Some([format!("{folder}/c.yaml"), format!("{folder}/bin")]);
        let kubeadms = format!("KUBELET_KUBEADM_ARGS=\"--v=2 {}\"\n", both("/k"));
        let own = format!("KUBELET_EXTRA_ARGS='{}'\n", both("/own"));
        assert_eq!(of(&kubeadms, ""), paths("/k"));
        assert_eq!(of("", &own), paths("/own"));
        assert_eq!(of(&kubeadms, &own), paths("/own"), "the last counts");
        assert_eq!(of(&kubeadms, "KUBELET_EXTRA_ARGS=--v=3\n"), paths("/k"));
        for one in ["", "KUBELET_KUBEADM_ARGS=\"--v=2\"\n"] {
            assert_eq!(of(one, ""), None, "{one}");
        }
        let relative = "KUBELET_EXTRA_ARGS=\"--image-credential-provider-config=c --image-credential-provider-bin-dir=b\"\n";
        assert_eq!(of("", relative), None);
    }

    #[test]
    fn the_kubelet_s_words_get_two_more_at_their_end() {
        let after = |text: &str| with_arguments(text, "--a=1 --b=2");
        for (text, wanted) in [
            ("", "KUBELET_EXTRA_ARGS=\"--a=1 --b=2\"\n"),
            ("# ours", "# ours\nKUBELET_EXTRA_ARGS=\"--a=1 --b=2\"\n"),
            (
                "KUBELET_EXTRA_ARGS=\n",
                "KUBELET_EXTRA_ARGS=\"--a=1 --b=2\"\n",
            ),
            (
                "X=1\nKUBELET_EXTRA_ARGS='--v=2'\nY=2\n",
                "X=1\nKUBELET_EXTRA_ARGS='--v=2 --a=1 --b=2'\nY=2\n",
            ),
            (
                "KUBELET_EXTRA_ARGS=--v=2 --x=y",
                "KUBELET_EXTRA_ARGS=\"--v=2 --x=y --a=1 --b=2\"",
            ),
        ] {
            assert_eq!(after(text).as_deref(), Some(wanted), "{text}");
            assert_eq!(after(wanted).as_deref(), Some(wanted), "a second time");
        }
        for text in [
            "KUBELET_EXTRA_ARGS=\"--x=\\\"y\\\"\"\n",
            " KUBELET_EXTRA_ARGS = --v=1 --node-ip=1.2.3.4\n",
            "KUBELET_EXTRA_ARGS =--v=1\n",
            "KUBELET_EXTRA_ARGS=\"--v=1 \\\n --x=y\"\n",
            "KUBELET_EXTRA_ARGS=--v=1 \\\n --x=y\n",
            "KUBELET_EXTRA_ARGS=--v=1\n KUBELET_EXTRA_ARGS=--v=2\n",
            "X='\nKUBELET_EXTRA_ARGS=--v=1\n'\n",
            "X=a\\",
            "# a \\\nKUBELET_EXTRA_ARGS=--v=1\n",
        ] {
            assert_eq!(after(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_provider_for_a_pod_s_service_account_is_left_to_the_kubelet() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("theirs.yaml");
        let text = |more: &str| {
            format!(
                "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: p\n  matchImages: [r.example]\n  defaultCacheDuration: 1h\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n{more}"
            )
        };
        std::fs::write(&file, text("")).unwrap();
        assert_eq!(check(&read_kubelet_config(&file).unwrap(), &file), Ok(()));
        for requires in [true, false] {
            let more = format!(
                "  tokenAttributes: {{serviceAccountTokenAudience: a, cacheType: Token, requireServiceAccount: {requires}}}\n"
            );
            std::fs::write(&file, text(&more)).unwrap();
            let why = check(&read_kubelet_config(&file).unwrap(), &file).unwrap_err();
            assert!(why.to_string().contains("a pod's service account"), "{why}");
        }
    }

    #[test]
    fn rootpin_toml_names_the_others_once() {
        let text = "deadline = \"6s\"\n\n[credentials]\nauth-file = \"/a\"\n";
        let once = named(text, Path::new("/x.yaml"), Path::new("/bin-dir")).unwrap();
        assert_eq!(
            once,
            "deadline = \"6s\"\n\n[credentials]\nauth-file = \"/a\"\nkubelet-config = \"/x.yaml\"\nkubelet-bin-dir = \"/bin-dir\"\n"
        );
        assert_eq!(
            named(&once, Path::new("/x.yaml"), Path::new("/bin-dir")).unwrap(),
            once
        );
    }
}
