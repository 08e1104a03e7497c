//! A registry that is reached through a proxy only, which knows its name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::registry::Registry;
use crate::world::{Ended, run};

/// A proxy that speaks SOCKS 5 (RFC 1928) and HTTP's CONNECT, and leads everywhere to that port.
async fn proxy(to: u16) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let used = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&used);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let first = client.read_u8().await?;
                if first == 5 {
                    let methods = client.read_u8().await?;
                    client.read_exact(&mut vec![0; methods.into()]).await?;
                    client.write_all(&[5, 0]).await?;
                    let mut head = [0; 5];
                    client.read_exact(&mut head).await?;
                    assert_eq!(head[3], 3, "the proxy is asked for the name");
                    let mut rest = vec![0; usize::from(head[4]) + 2];
                    client.read_exact(&mut rest).await?;
                    assert_eq!(&rest[..rest.len() - 2], b"registry.test");
                    client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
                } else {
                    let mut head = vec![first];
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await?);
                    }
                    assert!(head.starts_with(b"CONNECT registry.test:"));
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let mut server = TcpStream::connect(("127.0.0.1", to)).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    (port, used)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_behind_a_proxy_is_published_to_unless_no_proxy_names_it() {
    let registry = Registry::start_tls(&["h2", "http/1.1"]).await;
    let (port, used) = proxy(registry.port).await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("certs.d/registry.test");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("ca.crt"), &registry.ca).unwrap();
    fs::set_permissions(folder.join("ca.crt"), fs::Permissions::from_mode(0o644)).unwrap();
    let certs = dir.path().join("certs.d").display().to_string();
    let init = |machine: &str, settings: &[(&str, &str)]| -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        for name in [
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "NO_PROXY",
            "no_proxy",
        ] {
            command.env_remove(name);
        }
        command
            .env("ROOTPIN_PASSPHRASE", "correct horse")
            .env("HOME", dir.path())
            .current_dir(dir.path());
        command.envs(settings.iter().copied()).args([
            "repo",
            "--hosts-dir",
            &certs,
            "init",
            machine,
            "--names",
            "r.test/app",
        ]);
        let place = format!("oci://registry.test/trust/{machine}");
        tokio::task::block_in_place(|| run(command.args(["--publish", &place]), b""))
    };
    for (number, scheme) in ["http", "socks5h"].into_iter().enumerate() {
        let url = format!("{scheme}://127.0.0.1:{port}");
        registry.held.lock().unwrap().tags.clear();
        let ended = init(
            &format!("by{number}"),
            &[("HTTPS_PROXY", &url), ("NO_PROXY", "*.other.test")],
        );
        assert_eq!(ended.code, 0, "{scheme}: {ended:?}");
        assert!(used.load(Ordering::SeqCst) > 0, "{scheme}");
        used.store(0, Ordering::SeqCst);
    }
    let url = format!("http://127.0.0.1:{port}");
    let ended = init("direct", &[("ALL_PROXY", &url), ("NO_PROXY", "*.test")]);
    assert!(
        ended.code != 0 && used.load(Ordering::SeqCst) == 0,
        "the name resolves nowhere but at the proxy: {ended:?}"
    );
}
