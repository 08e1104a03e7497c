//! The names of one setting in files of different versions: containerd 2 reads files of version 2, and
//! those of version 1 in part, by the names that they had there.

const PLUGINS: &str = "plugins";
/// Before version 3, one section of CRI has all.
const CRI: &str = "io.containerd.grpc.v1.cri";
const IMAGES: &str = "io.containerd.cri.v1.images";
const RUNTIME: &str = "io.containerd.cri.v1.runtime";
/// What has to do with snapshots is one table deeper there
/// (containerd 2.0, plugins/cri/images/plugin.go, `migrateConfig`).
const DEEPER: [&str; 3] = [
    "disable_snapshot_annotations",
    "discard_unpacked_layers",
    "snapshotter",
];

/// A setting's path as it is, and as files of earlier versions have it.
pub(super) fn all<'a>(path: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut names = vec![path.to_vec()];
    let [PLUGINS, plugin, rest @ ..] = path else {
        return names;
    };
    if [IMAGES, RUNTIME].contains(plugin) {
        let mut old = vec![PLUGINS, CRI];
        match rest {
            ["pinned_images", "sandbox"] => old.push("sandbox_image"),
            [key, ..] if *plugin == IMAGES && DEEPER.contains(key) => {
                old.push("containerd");
                old.extend(rest);
            }
            _ => old.extend(rest),
        }
        names.push(old);
    }
    let last = names.last().cloned().unwrap_or_default();
    // Version 1 has the last part of the plugin's name.
    if let [plugins, plugin, rest @ ..] = last.as_slice()
        && let Some((_, short)) = plugin.rsplit_once('.')
    {
        names.push([&[*plugins, short], rest].concat());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_by_the_names_of_each_version() {
        let shown = |path: &[&str]| -> Vec<String> {
            let names = all(path).into_iter();
            names.map(|name| name.join("/")).collect()
        };
        for (key, old) in [
            ("registry/mirrors", "registry/mirrors"),
            ("max_concurrent_downloads", "max_concurrent_downloads"),
            ("snapshotter", "containerd/snapshotter"),
            (
                "disable_snapshot_annotations",
                "containerd/disable_snapshot_annotations",
            ),
            (
                "discard_unpacked_layers",
                "containerd/discard_unpacked_layers",
            ),
            ("pinned_images/sandbox", "sandbox_image"),
        ] {
            let path: Vec<&str> = ["plugins", IMAGES]
                .into_iter()
                .chain(key.split('/'))
                .collect();
            let wanted = [
                format!("plugins/{IMAGES}/{key}"),
                format!("plugins/{CRI}/{old}"),
                format!("plugins/cri/{old}"),
            ];
            assert_eq!(shown(&path), wanted);
        }
        let nri = "plugins/io.containerd.nri.v1.nri/disable";
        let path: Vec<&str> = nri.split('/').collect();
        assert_eq!(shown(&path), [nri, "plugins/nri/disable"]);
        assert_eq!(shown(&["imports"]), ["imports"]);
    }
}
