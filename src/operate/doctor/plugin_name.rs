//! The name by which dockerd finds a plugin: of a socket, or of a file that says where the socket
//! is (moby, pkg/plugins/discovery.go).

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// Where a file that names a socket is written.
pub(super) const SPECS: &str = "/etc/docker/plugins";
/// Where sockets are looked for, each under its name or in a folder of that name.
const SOCKETS: [&str; 2] = ["/run/docker/plugins", "/var/run/docker/plugins"];
const ALL_SPECS: [&str; 2] = [SPECS, "/usr/lib/docker/plugins"];
/// More than any such file has.
const MAX_SPEC: u64 = 4096;

/// The name of the plugin that listens at that socket, if dockerd can find it.
pub(super) fn of(socket: &Path) -> Option<String> {
    by_socket(socket).or_else(|| {
        ALL_SPECS
            .iter()
            .find_map(|folder| by_spec(Path::new(folder), socket))
    })
}

/// The name for one that dockerd can't find yet: whatever has it asked must make that known too.
pub(super) fn to_be(socket: &Path) -> String {
    of(socket).unwrap_or_else(|| "rootpin".to_owned())
}

/// A socket that dockerd takes for the plugin of that name, before it looks for a file that names
/// rootpin's: an earlier one of rootpin's own, say, which nobody listens at any more.
pub(super) fn shadow(plugin: &str, socket: &Path) -> Option<PathBuf> {
    SOCKETS
        .iter()
        .find_map(|folder| shadow_in(Path::new(folder), plugin, socket))
}

fn shadow_in(folder: &Path, plugin: &str, socket: &Path) -> Option<PathBuf> {
    let own = fs::canonicalize(socket).ok();
    let name = format!("{plugin}.sock");
    [folder.join(&name), folder.join(plugin).join(&name)]
        .into_iter()
        .find(|path| {
            fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
                && path != socket
                && (own.is_none() || fs::canonicalize(path).ok() != own)
        })
}

fn by_socket(socket: &Path) -> Option<String> {
    let stem = socket.file_stem()?.to_string_lossy().into_owned();
    let folder = socket.parent()?;
    let plain = |folder: &Path| SOCKETS.iter().any(|known| folder == Path::new(known));
    // NAME.sock, or NAME/NAME.sock.
    let deeper = folder.parent().is_some_and(plain)
        && folder
            .file_name()
            .is_some_and(|name| name.to_string_lossy() == stem);
    (socket
        .extension()
        .is_some_and(|extension| extension == "sock")
        && (plain(folder) || deeper))
        .then_some(stem)
}

fn by_spec(folder: &Path, socket: &Path) -> Option<String> {
    let entries = fs::read_dir(folder)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let mut all: Vec<_> = entries.collect();
    all.sort();
    let names = |path: &Path| {
        let kind = path.extension()?.to_str()?;
        let text = fs::metadata(path)
            .ok()
            .filter(|found| found.len() <= MAX_SPEC)
            .and_then(|_| fs::read_to_string(path).ok())?;
        let address = match kind {
            "spec" => text.trim().to_owned(),
            "json" => serde_json::from_str::<serde_json::Value>(&text)
                .ok()?
                .get("Addr")?
                .as_str()?
                .to_owned(),
            _ => return None,
        };
        Some(Path::new(address.strip_prefix("unix://")?).to_owned())
    };
    all.into_iter().find_map(|path| {
        (names(&path)? == socket).then(|| {
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
        })?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_found_by_its_socket_or_by_a_file_that_names_it() {
        for (socket, name) in [
            ("/run/docker/plugins/rootpin.sock", Some("rootpin")),
            ("/var/run/docker/plugins/a/a.sock", Some("a")),
            ("/run/docker/plugins/a/b.sock", None),
            ("/run/docker/plugins/rootpin", None),
            ("/run/rootpin/docker.authz.sock", None),
        ] {
            assert_eq!(by_socket(Path::new(socket)).as_deref(), name, "{socket}");
        }
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.spec", "tcp://127.0.0.1:1\n");
        write("b.spec", "unix:///run/rootpin/docker.authz.sock\n");
        write("c.json", r#"{"Name": "c", "Addr": "unix:///run/c.sock"}"#);
        let by_spec = |socket: &str| by_spec(folder.path(), Path::new(socket));
        assert_eq!(
            by_spec("/run/rootpin/docker.authz.sock").as_deref(),
            Some("b")
        );
        assert_eq!(
            (
                by_spec("/run/c.sock").as_deref(),
                by_spec("/run/other.sock")
            ),
            (Some("c"), None)
        );
    }

    #[test]
    fn a_socket_of_the_plugin_s_name_is_found_before_the_file_that_names_another() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("docker.authz.sock");
        let find = || shadow_in(folder.path(), "rootpin", &own);
        let _own = std::os::unix::net::UnixListener::bind(&own).unwrap();
        fs::write(folder.path().join("rootpin.sock"), "no socket").unwrap();
        assert_eq!(find(), None);
        fs::create_dir(folder.path().join("rootpin")).unwrap();
        let deeper = folder.path().join("rootpin/rootpin.sock");
        drop(std::os::unix::net::UnixListener::bind(&deeper).unwrap());
        assert_eq!(find(), Some(deeper.clone()));
        assert_eq!(shadow_in(folder.path(), "rootpin", &deeper), None);
        fs::remove_file(&deeper).unwrap();
        std::os::unix::fs::symlink(&own, &deeper).unwrap();
        assert_eq!(find(), None, "a link to rootpin's own");
    }
}
