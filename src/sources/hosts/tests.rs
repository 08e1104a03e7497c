use std::os::unix::fs::PermissionsExt;

use super::*;

fn apis(text: &str, wanted: Capability) -> Result<Vec<String>, String> {
    let resolver = "127.0.0.1:5055".parse().ok();
    Ok(
        parse(text, Path::new("/nowhere"), "r.example", wanted, resolver)?
            .0
            .into_iter()
            .flatten()
            .map(|way| way.api)
            .collect(),
    )
}

#[test]
fn mirrors_come_in_the_order_of_the_file_and_the_server_last() {
    let text = "server = \"https://r.example\"\n[host.\"https://z.example\"]\ncapabilities = [\"pull\", \"resolve\"]\n\
                    [host.\"https://a.example/v2/cache\"]\noverride_path = true\n[host.\"b.example\"]\ncapabilities = [\"pull\"]\n\
                    [host.\"b.example\".header]\nx = \"y\"\n";
    assert_eq!(
        apis(text, Capability::Pull).unwrap(),
        [
            "https://z.example/v2",
            "https://a.example/v2/cache",
            "https://b.example/v2",
            "https://r.example/v2"
        ]
    );
    assert_eq!(apis(text, Capability::Resolve).unwrap().len(), 3);
    assert_eq!(
        apis(text, Capability::Push).unwrap(),
        ["https://a.example/v2/cache", "https://r.example/v2"]
    );
    assert_eq!(
        apis("", Capability::Pull).unwrap(),
        ["https://r.example/v2"]
    );
}

#[test]
fn the_resolver_of_this_host_is_no_way_to_a_registry() {
    let host = "[host.\"http://127.0.0.1:5055/resolve\"]\ncapabilities = [\"pull\", \"resolve\"]\n";
    let closed = format!("server = \"https://r.example\"\ncapabilities = [\"pull\"]\n{host}");
    assert_eq!(
        apis(&closed, Capability::Resolve).unwrap(),
        ["https://r.example/v2"]
    );
    for server in ["http://127.0.0.1:5055", "http://localhost:5055/"] {
        assert!(
            apis(&format!("server = \"{server}\""), Capability::Pull)
                .unwrap()
                .is_empty()
        );
        let mirrored = format!("server = \"{server}\"\n[host.\"https://m.example\"]");
        assert_eq!(
            apis(&mirrored, Capability::Pull).unwrap(),
            ["https://m.example/v2", "https://r.example/v2"]
        );
    }
    assert_eq!(
        apis("server = \"http://127.0.0.1:5056\"", Capability::Pull).unwrap(),
        ["http://127.0.0.1:5056/v2"]
    );
}

#[test]
fn dockerds_own_words_count_where_no_hosts_toml_names_a_host() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("certs.d");
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    };
    let found = |host: &str, wanted: Capability| {
        let resolver = "127.0.0.1:5055".parse().ok();
        let ways = ways(&folder, host, wanted, resolver).unwrap();
        ways.into_iter()
            .flatten()
            .map(|way| (way.api, way.mirror, way.guessed))
            .collect::<Vec<_>>()
    };
    let way = |api: &str, mirror: bool, guessed: bool| (format!("{api}/v2"), mirror, guessed);
    write(
        "daemon.json",
        r#"{"registry-mirrors": ["http://127.0.0.1:5055", "http://m.example:5000/hub/", "https://n.example"],
                "insecure-registries": ["10.0.0.0/8", "r.example:5000"]}"#,
    );
    write("certs.d/n.example/ca.crt", "CA");
    let (hub, pull) = (
        way("https://registry-1.docker.io", false, false),
        Capability::Pull,
    );
    let mirrored = [
        way("http://m.example:5000/hub", true, false),
        way("https://n.example", true, false),
        hub.clone(),
    ];
    assert_eq!(found("docker.io", pull), mirrored);
    assert_eq!(found("docker.io", Capability::Push), []);
    let of_mirror = ways(&folder, "docker.io", pull, None).unwrap().unwrap();
    assert_eq!(of_mirror[2].ca.as_deref(), Some(&b"CA\n"[..]));
    for insecure in ["10.1.2.3:5000", "r.example:5000"] {
        assert_eq!(
            found(insecure, Capability::Push),
            [
                way(&format!("http://{insecure}"), false, true),
                way(&format!("https://{insecure}"), false, false)
            ]
        );
    }
    assert_eq!(found("r.example", pull), [], "another port");

    write("certs.d/docker.io/ca.crt", "CA");
    assert_eq!(found("docker.io", pull), mirrored, "a CA names no host");
    write(
        "certs.d/docker.io/hosts.toml",
        "server = \"https://s.example\"",
    );
    assert_eq!(
        found("docker.io", pull)[2],
        way("https://s.example", false, false)
    );
    let resolver = "[host.\"http://127.0.0.1:5055/resolve\"]\n";
    for host in ["docker.io", "r.example:5000"] {
        write(&format!("certs.d/{host}/hosts.toml"), resolver);
        assert_eq!(
            found(host, pull).len(),
            1,
            "a host is named, so no more counts"
        );
    }
}

#[test]
fn what_would_leave_a_connection_unverified_is_an_error() {
    for text in [
        "skip_verify = true",
        "[host.\"https://a.example\"]\nskip_verify = true",
        "[host.\"ftp://a.example\"]",
        "client = \"missing.pem\"",
        "client = 1",
        "[host.\"https://u:p@a.example\"]",
        "[host.\"https://a.example?x\"]",
        "[host.\"https://a.example\"]\nca = \"missing.pem\"",
        "host = 1",
        "[host",
    ] {
        assert!(apis(text, Capability::Pull).is_err(), "{text}");
    }
    assert_eq!(
        apis("[host.\"http://127.0.0.1:5000\"]", Capability::Pull).unwrap()[0],
        "http://127.0.0.1:5000/v2"
    );
    assert_eq!(
        apis("server = \"http://r.example\"", Capability::Pull).unwrap(),
        ["http://r.example/v2"]
    );
}

#[test]
fn a_registry_s_own_file_comes_before_the_default_and_one_that_others_can_write_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let dir = folder.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("hosts.toml"), text).unwrap();
        fs::set_permissions(dir.join("hosts.toml"), fs::Permissions::from_mode(mode)).unwrap();
    };
    let first = |host: &str| {
        ways(folder.path(), host, Capability::Pull, None)
            .map(|ways| ways.map(|ways| ways[0].api.clone()))
    };
    assert_eq!(first("r.example:5000").unwrap(), None);
    write("_default", "[host.\"https://all.example\"]", 0o644);
    assert_eq!(
        first("r.example:5000").unwrap().unwrap(),
        "https://all.example/v2"
    );
    write("r.example:5000", "[host.\"https://one.example\"]", 0o644);
    assert_eq!(
        first("r.example:5000").unwrap().unwrap(),
        "https://one.example/v2"
    );
    // Who can write to a folder puts another file in its place.
    let mode = |mode| {
        let folder = folder.path().join("r.example:5000");
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o777);
    let error = first("r.example:5000").unwrap_err().to_string();
    assert!(error.contains("others than root can change it"), "{error}");
    mode(0o755);
    write("r.example:5000", "[host.\"https://one.example\"]", 0o666);
    let error = first("r.example:5000").unwrap_err().to_string();
    assert!(
        error.contains("r.example:5000/hosts.toml") && error.contains("others than root"),
        "{error}"
    );
}

#[test]
fn a_file_that_is_cut_or_is_a_pipe_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, "#".repeat(1 << 20)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(read(&path).unwrap().len(), 1 << 20);
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains("longer than"));
    fs::remove_file(&path).unwrap();
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, rustix::fs::Mode::RUSR, 0).unwrap();
    assert_eq!(read(&path).unwrap_err().to_string(), "not a plain file");
}

#[test]
fn the_folder_that_engines_look_into_first_counts_and_docker_s_files_where_it_has_no_hosts_toml() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    };
    let found = |host: &str| ways(root.path(), host, Capability::Pull, None).unwrap();
    write(
        "_default/hosts.toml",
        "server = \"https://default.example\"",
    );
    write(
        "r.example:5000/hosts.toml",
        "server = \"https://second.example\"",
    );
    write(
        "r.example_5000_/hosts.toml",
        "server = \"https://first.example\"",
    );
    assert_eq!(
        found("r.example:5000").unwrap()[0].api,
        "https://first.example/v2"
    );
    for (name, text) in [
        ("ca.crt", "CA"),
        ("client.cert", "CERT"),
        ("client.key", "KEY"),
    ] {
        write(&format!("docker.io/{name}"), text);
    }
    let way = found("docker.io").unwrap().remove(0);
    assert_eq!(way.api, "https://registry-1.docker.io/v2");
    assert_eq!(
        (way.ca.unwrap(), way.identity.unwrap()),
        (b"CA\n".to_vec(), b"CERT\nKEY\n".to_vec())
    );
    for client in [
        "client = \"both.pem\"",
        "client = [\"both.pem\", \"other.pem\"]",
        "client = [[\"c.pem\", \"k.pem\"]]",
        "client = [[\"both.pem\", \"\"]]",
    ] {
        for (name, text) in [
            ("both.pem", "CERT\nKEY"),
            ("c.pem", "CERT"),
            ("k.pem", "KEY"),
        ] {
            write(&format!("r.example/{name}"), text);
        }
        write("r.example/hosts.toml", client);
        assert_eq!(
            found("r.example").unwrap()[0].identity.as_deref(),
            Some(&b"CERT\nKEY\n"[..]),
            "{client}"
        );
    }
}
