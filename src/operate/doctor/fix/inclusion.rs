//! How a drop-in becomes part of a main file: by an import in it, or by the input of the platform
//! that writes the main file. That input is changed, and never the file that it is made into, but
//! for one that is made at boot only.

use std::fs;
use std::path::{Path, PathBuf};

use toml::Value;

use super::super::facts::{ContainerdFacts, EngineConfig};
use super::super::version::VERIFIER;
use super::template::{K0S_MARK, has_base, has_imports};
use super::{FileEdit, generated, toml_file};
use crate::operate::platform::{Inclusion, Platform};
use crate::problem::Problem;

const CRI_IMAGES: &str = "io.containerd.cri.v1.images";
const OLD_CRI: &str = "io.containerd.grpc.v1.cri";

/// The drop-in and what must change so that it is read.
#[derive(Debug)]
pub(super) struct Edits {
    pub(super) edits: Vec<FileEdit>,
    /// What the platform makes of the main file by them, when it writes that anew.
    pub(super) generated: Vec<FileEdit>,
}

/// The version that this containerd itself prints.
pub(super) fn own_version(config: &EngineConfig) -> i64 {
    config
        .effective
        .get("version")
        .and_then(Value::as_integer)
        .unwrap_or(2)
}

/// The platform's folder of drop-ins, or the usual one.
pub(super) fn folder<'a>(platform: Option<&Platform>, usual: &'a Path) -> &'a Path {
    match platform.map(|platform| platform.inclusion) {
        Some(Inclusion::Folder(folder) | Inclusion::FolderOrTemplate(folder, _)) => {
            Path::new(folder)
        }
        Some(Inclusion::Imports | Inclusion::Template(_) | Inclusion::NodeConfig(_)) | None => {
            usual
        }
    }
}

/// What the platform must be told, and what it makes of it. None: the main file is the
/// administrator's, or the platform's way isn't open here.
pub(super) fn edits(
    platform: Option<&Platform>,
    facts: &ContainerdFacts,
    config: &EngineConfig,
    import: &Path,
) -> Result<Option<Edits>, Problem> {
    let Some(platform) = platform else {
        return Ok(None);
    };
    let version = platform.version.unwrap_or_else(|| own_version(config));
    let is_new = config.files.files.is_empty();
    // What the platform will write.
    let later = || imported(config, import, version);
    Ok(match platform.inclusion {
        Inclusion::Imports => None,
        Inclusion::FolderOrTemplate(_, template) if !is_new => {
            whole_template(&platform.beside(template), import)?
                .map(|edit| Ok::<_, Problem>(made(vec![edit], later()?)))
                .transpose()?
        }
        Inclusion::Folder(_) if !is_k0s_managed(config) => None,
        Inclusion::Folder(_) | Inclusion::FolderOrTemplate(..) => Some(made(Vec::new(), later()?)),
        Inclusion::Template(template) => {
            let edit = whole_template(&platform.beside(template), import)?;
            edit.map(|edit| Ok::<_, Problem>(made(vec![edit], later()?)))
                .transpose()?
        }
        Inclusion::NodeConfig(file) => {
            nodeadm(Path::exists)?;
            let imports = imports(config, import);
            let mut edits = vec![node_config(Path::new(file), facts, (import, &imports))?];
            // The present one holds until the next boot.
            if is_new {
                Some(made(edits, later()?))
            } else {
                edits.push(later()?);
                Some(Edits {
                    edits,
                    generated: Vec::new(),
                })
            }
        }
    })
}

/// Whether k0s writes the main file. One without its mark is the administrator's, and k0s neither
/// touches it nor has it import anything (k0sproject/k0s,
/// pkg/component/worker/containerd/component.go).
pub(super) fn is_k0s_managed(config: &EngineConfig) -> bool {
    config
        .files
        .files
        .first()
        .is_none_or(|main| main.text.lines().any(|line| line == K0S_MARK))
}

fn made(edits: Vec<FileEdit>, later: FileEdit) -> Edits {
    Edits {
        edits,
        generated: vec![later],
    }
}

/// The main file with that import. Without a main file containerd reads no drop-in, whatever it
/// says of its default imports, so there will be one.
pub(super) fn imported(
    config: &EngineConfig,
    import: &Path,
    version: i64,
) -> Result<FileEdit, Problem> {
    if !config.files.files.is_empty() {
        return toml_file::imports(config, import);
    }
    Ok(FileEdit {
        path: config.main.clone(),
        before: None,
        after: format!(
            "version = {version}\nimports = [\"{}\"]\n",
            import.display()
        ),
        mode: 0o644,
    })
}

/// A template that is a whole configuration, with the import at its top. None: there is none, or it
/// has the built-in one in it. That one has an import of its own in a later release, and a second
/// keeps containerd from starting.
fn whole_template(path: &Path, import: &Path) -> Result<Option<FileEdit>, Problem> {
    let Some(before) = super::text(path)? else {
        return Ok(None);
    };
    let line = format!("imports = [\"{}\"]\n", import.display());
    if before.starts_with(&line) {
        return Ok(Some(FileEdit {
            path: path.to_owned(),
            after: before.clone(),
            before: Some(before),
            mode: 0o644,
        }));
    }
    if has_base(&before) || has_imports(&before) {
        return Ok(None);
    }
    Ok(Some(FileEdit {
        path: path.to_owned(),
        after: format!("{line}{before}"),
        before: Some(before),
        mode: 0o644,
    }))
}

/// Whether a `NodeConfig` is read here at all.
///
/// # Errors
/// It is not: the main file would be written anew without the import, and nobody would be asked.
fn nodeadm(there: impl Fn(&Path) -> bool) -> Result<(), Problem> {
    if generated::has_nodeadm(there) {
        return Ok(());
    }
    Err(Problem::hinted(
        "nothing is written: this host has no nodeadm, so that no NodeConfig is read, and bootstrap.sh of an older AMI writes the main file when the node joins",
        "use an AMI of Amazon Linux 2023; or on each node, once it has joined: rootpin install --platform containerd",
    ))
}

/// All that the main file imports, with this one too.
fn imports(config: &EngineConfig, import: &Path) -> Vec<String> {
    let main = config.files.files.first();
    let list = main.and_then(|main| main.table.get("imports")?.as_array());
    let present = list.into_iter().flatten().filter_map(Value::as_str);
    let mut all: Vec<String> = present.map(str::to_owned).collect();
    let import = import.display().to_string();
    if !all.contains(&import) {
        all.push(import);
    }
    all
}

/// nodeadm's input. Its list takes the place of the one that user data has, so it has all of
/// `imports`, which are in force, and not `import` alone. Where it finds no section of CRI as
/// version 3 has it, nodeadm takes it for version 2, writes that, and has containerd migrate it with
/// all that it imports (awslabs/amazon-eks-ami, nodeadm/internal/containerd/config.go); for
/// containerd 1.7 it refuses such a section.
fn node_config(
    path: &Path,
    facts: &ContainerdFacts,
    (import, imports): (&Path, &[String]),
) -> Result<FileEdit, Problem> {
    let section = if facts.version < VERIFIER {
        String::new()
    } else {
        format!("\n      [plugins.\"{CRI_IMAGES}\"]\n      discard_unpacked_layers = false")
    };
    if let Some(other) = other(path, has_old_names).filter(|_| facts.version >= VERIFIER) {
        return Err(Problem::hinted(
            format!(
                "{} names CRI as containerd 1.x has it, {OLD_CRI}: beside rootpin's lines nodeadm takes the whole for version 3, and drops those",
                other.display()
            ),
            format!(
                "write them there with the names of version 3, as {CRI_IMAGES} (containerd config migrate prints them), and run this again"
            ),
        ));
    }
    if let Some(other) = other_imports(path, import) {
        return Err(Problem::hinted(
            format!(
                "{} has imports of its own, and of two lists nodeadm takes one",
                other.display()
            ),
            format!(
                "add \"{}\" to that list, and run this again",
                import.display()
            ),
        ));
    }
    let quoted = |one: &String| Value::from(one.as_str()).to_string();
    let list: Vec<String> = imports.iter().map(quoted).collect();
    let after = format!(
        "# Written by rootpin: nodeadm merges it into containerd's configuration at each boot.\n\
         apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  containerd:\n    config: |\n      imports = [{}]{section}\n",
        list.join(", ")
    );
    Ok(FileEdit {
        path: path.to_owned(),
        before: super::text(path)?,
        after,
        mode: 0o644,
    })
}

/// Another `NodeConfig` of the folder with imports that lack this one.
fn other_imports(path: &Path, import: &Path) -> Option<PathBuf> {
    let import = import.display().to_string();
    other(path, |text| has_imports(text) && !text.contains(&import))
}

/// Another file of the folder whose text is so.
fn other(path: &Path, is_so: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let entries = fs::read_dir(path.parent()?).ok()?;
    let mut others: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|other| other != path)
        .collect();
    others.sort();
    others.into_iter().find(|other| {
        let text = super::text(other).ok().flatten().unwrap_or_default();
        is_so(&text)
    })
}

/// Whether it has a section of CRI as versions 1 and 2 name it.
fn has_old_names(text: &str) -> bool {
    let lines = text.lines().map(str::trim_start);
    let mut sections = lines.filter(|line| !line.starts_with('#'));
    sections.any(|line| line.contains(OLD_CRI))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_node_config_with_imports_is_named_as_nodeadm_takes_one_list() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (
            folder.path().join("rootpin.yaml"),
            folder.path().join("a.yaml"),
        );
        let import = Path::new("/d/*.toml");
        let text = "spec:\n  containerd:\n    config: |\n      imports = [\"/e/*.toml\"]\n";
        fs::write(&own, text).unwrap();
        assert_eq!(other_imports(&own, import), None);
        fs::write(&other, text).unwrap();
        assert_eq!(other_imports(&own, import), Some(other.clone()));
        fs::write(&other, text.replace("/e/*", "/e/*.toml\", \"/d/*")).unwrap();
        assert_eq!(other_imports(&own, import), None);
    }

    #[test]
    fn a_node_config_with_cri_s_names_of_containerd_1_is_named_where_nodeadm_would_drop_them() {
        use super::super::super::check::tests::in_order;

        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (
            folder.path().join("rootpin.yaml"),
            folder.path().join("90-mine.yaml"),
        );
        let import = Path::new("/d/*.toml");
        let text = "spec:\n  containerd:\n    config: |\n      version = 2\n      \
            [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"r.example\"]\n      endpoint = [\"http://m\"]\n";
        fs::write(&other, text).unwrap();
        let imports = [import.display().to_string()];
        let with = (import, &imports[..]);
        let why = node_config(&own, &in_order("2.1.9"), with)
            .unwrap_err()
            .to_string();
        assert!(
            why.starts_with(&format!("{} names CRI", other.display())),
            "{why}"
        );
        assert!(
            node_config(&own, &in_order("1.7.24"), with).is_ok(),
            "its own names there"
        );
        for fine in [
            text.replace("grpc.v1.cri", "cri.v1.images"),
            text.replace("[plugins", "# [plugins"),
        ] {
            fs::write(&other, fine).unwrap();
            assert!(node_config(&own, &in_order("2.1.9"), with).is_ok());
        }
    }

    #[test]
    fn what_user_data_imports_stays_imported_where_nodeadm_takes_rootpin_s_list() {
        use super::super::super::check::tests::{files, in_order};

        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("rootpin.yaml");
        let facts = in_order("2.1.9");
        let mut config = facts.config.clone().unwrap();
        let import = Path::new("/d/*.toml");
        let mut text = |main: &str| {
            config.files = files(&[("/etc/containerd/config.toml", main)]);
            let all = imports(&config, import);
            node_config(&own, &facts, (import, &all)).unwrap().after
        };
        let first = text("version = 3\nimports = ['/theirs/*.toml']\n");
        let list = "      imports = [\"/theirs/*.toml\", \"/d/*.toml\"]\n";
        assert!(first.contains(list), "{first}");
        // As it is after the edit of the main file, and after a boot.
        assert_eq!(text(&format!("version = 3\n{}", list.trim_start())), first);
        assert!(text("version = 3\n").contains("      imports = [\"/d/*.toml\"]\n"));
    }

    #[test]
    fn no_node_config_is_written_where_nobody_reads_it() {
        let why = nodeadm(|_| false).unwrap_err().to_string();
        assert!(why.contains("this host has no nodeadm"), "{why}");
        assert_eq!(nodeadm(|path| path.ends_with("nodeadm")), Ok(()));
    }

    #[test]
    fn only_a_template_that_is_a_whole_configuration_gets_the_import() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config-v3.toml.tmpl");
        let import = Path::new("/d/*.toml");
        assert_eq!(whole_template(&path, import), Ok(None), "there is none");
        // A later k3s has an import in its own part, and two keep containerd from starting.
        for text in [
            "{{ template \"base\" . }}\n[debug]\n",
            "{{- template `base` . -}}\n",
            "{{ template  \"base\" . }}\n",
            "{{template\t`base` .}}\n",
            "version = 3\n\"imports\" = [\"/e/*.toml\"]\n",
            "version = 3\n imports = [\"/e/*.toml\"]\n",
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(whole_template(&path, import), Ok(None), "{text}");
        }
        let text = "version = 3\nroot = {{ .Root }}\n# imports\n";
        fs::write(&path, text).unwrap();
        let edit = whole_template(&path, import).unwrap().unwrap();
        assert_eq!(edit.after, format!("imports = [\"/d/*.toml\"]\n{text}"));
        fs::write(&path, &edit.after).unwrap();
        let again = whole_template(&path, import).unwrap().unwrap();
        assert_eq!(again.before.as_ref(), Some(&again.after));
    }
}
