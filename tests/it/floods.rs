//! More servers that send without end than rootpind has doors' threads, and than it had threads for
//! all servers: whatever they flood, an honest server answers, and nothing goes on when nothing is
//! asked.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cosign;
use crate::load_support::{peak, threads};
use crate::publisher::Publisher;
use crate::tls::Authority;
use crate::world::{GUN, Image, PATIENCE, World, ended, start};

/// How many floods began.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

/// So many servers of each kind.
const SERVERS: usize = 3;

/// What a server sends without end once it was asked.
#[derive(Clone, Copy, Debug)]
enum Flood {
    /// Interim responses (RFC 9110, section 15.2), in place of an answer.
    Interim,
    /// Answers that nobody asked for, behind one that is whole.
    Answers,
    /// The header of an answer, which never ends.
    Header,
    /// Interim responses over HTTP/2, which is offered and must not be taken.
    OverHttp2,
}

const FLOODS: [Flood; 3] = [Flood::Interim, Flood::Answers, Flood::Header];

async fn flood(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    flood: Flood,
) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 8192]).await?;
    let (begin, endless) = match flood {
        Flood::Interim => ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        Flood::Answers => ("", "HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n"),
        Flood::Header => ("HTTP/1.1 200 OK\r\n", "A: b\r\n"),
        // Empty SETTINGS; HEADERS of stream 1 with the status 103 (RFC 9113, RFC 7541).
        Flood::OverHttp2 => (
            "\0\0\0\x04\0\0\0\0\0",
            "\0\0\x05\x01\x04\0\0\0\x01\x08\x03103",
        ),
    };
    BEGUN.fetch_add(1, Ordering::Relaxed);
    stream.write_all(begin.as_bytes()).await?;
    if let Flood::OverHttp2 = flood {
        // The client's preface and SETTINGS came; its request is behind them.
        let _ = stream.read(&mut [0; 8192]).await?;
    }
    let many = endless.repeat(4000);
    loop {
        stream.write_all(many.as_bytes()).await?;
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, kind: Flood) {
    while let Ok((stream, _)) = listener.accept().await {
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => flood(stream, kind).await,
                Some(tls) => {
                    let stream = tls.accept(stream).await?;
                    let over_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    flood(stream, if over_http2 { Flood::OverHttp2 } else { kind }).await
                }
            }
        });
    }
}

/// Until all servers flood, an honest answer proves nothing.
fn all_flood() {
    let begun = Instant::now();
    while BEGUN.load(Ordering::Relaxed) < FLOODS.len() * 2 * SERVERS {
        assert!(begun.elapsed() < PATIENCE, "not every server was asked");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processor's time that a process had.
fn ticks(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let behind_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<_> = behind_name.split_ascii_whitespace().collect();
    let number = |at: usize| fields[at].parse::<u64>().unwrap();
    number(11) + number(12)
}

/// Waits until it has used none of the processor for a while.
fn rests(process: &str) -> bool {
    let begun = Instant::now();
    let mut before = ticks(process);
    while begun.elapsed() < PATIENCE * 4 {
        std::thread::sleep(Duration::from_millis(500));
        let now = ticks(process);
        if now <= before + 2 {
            return true;
        }
        before = now;
    }
    false
}

#[test]
fn servers_that_flood_cost_no_other_server_its_answer_and_nothing_once_nothing_is_asked() {
    let Some(mut world) = World::new("h-floods") else {
        return;
    };
    world.deadline = "8s";
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let mut policy = world.policy();
    let key = Publisher::new(GUN).root_key().id();
    let authority = Authority::new();
    std::fs::write(world.path("policy/ca.pem"), authority.pem()).unwrap();
    let servers = threads();
    let mut names = Vec::new();
    for kind in FLOODS {
        for with_tls in [false, true] {
            for number in 0..SERVERS {
                let listener = servers.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
                let port = listener.local_addr().unwrap().port();
                // Whoever offers HTTP/2 is asked by HTTP/1.1 all the same.
                let tls = with_tls.then(|| authority.server(&["h2", "http/1.1"]));
                let (scheme, ca) = match tls {
                    None => ("http", ""),
                    Some(_) => ("https", "tls-ca = \"ca.pem\"\n"),
                };
                servers.spawn(serve(listener, tls, kind));
                let id = format!("{kind:?}-{with_tls}-{number}").to_lowercase();
                let _ = write!(
                    policy,
                    "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"{scheme}://127.0.0.1:{port}\"\nkeys = [\"{key}\"]\n\
                     role = \"targets/releases\"\n{ca}[[rule]]\nmatch = \"r.test/{id}/*\"\nroots = [\"{id}\"]\n"
                );
                names.push(format!("r.test/{id}/app:v1"));
            }
        }
    }
    world.write_policy(&policy);
    let daemon = world.start();
    let descriptor = format!("{{\"digest\":\"{}\"}}", image.index.digest);
    let asked: Vec<_> = names
        .iter()
        .map(|name| {
            let mut command = world.verifier_command(name, &image.index.digest);
            start(&mut command, descriptor.as_bytes())
        })
        .collect();
    all_flood();
    let healthy = world.verifier("r.test/team/app:v1", &image.index.digest);
    assert_eq!(healthy.code, 0, "{healthy:?}");
    for (name, asked) in names.iter().zip(asked) {
        let asked = ended(asked.wait_with_output().unwrap());
        assert!(
            asked.code == 1 && asked.out.contains(name.as_str()),
            "{name}: {asked:?}"
        );
        assert!(
            !asked.out.contains("does not answer within"),
            "{name}: the daemon gave no reason: {asked:?}"
        );
    }
    let peak = peak(&daemon);
    assert!(peak < 128 << 10, "{peak} KiB");
    assert!(
        rests(&daemon.pid()),
        "rootpind goes on reading what it asked for no more"
    );
    assert_eq!(daemon.stop().0, 0);
}

/// Servers that take a connection and say nothing.
async fn silent_servers(count: usize) -> Vec<u16> {
    let mut ports = Vec::new();
    for _ in 0..count {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        ports.push(listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
    }
    ports
}

/// A registry that redirects each question to the next of these ports.
async fn redirect(listener: TcpListener, ports: Vec<u16>, asked: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (ports, asked) = (ports.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            let mut request = [0; 8192];
            while stream.read(&mut request).await? > 0 {
                let port = ports[asked.fetch_add(1, Ordering::Relaxed) % ports.len()];
                let answer = format!(
                    "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await?;
            }
            std::io::Result::Ok(())
        });
    }
}

/// The threads of servers in a process.
fn source_threads(process: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks
        .filter_map(name)
        .filter(|name| name == "source\n")
        .count()
}

#[test]
fn a_server_that_redirects_to_a_hundred_others_has_threads_for_few_and_costs_no_other_its_answer() {
    let Some(mut world) = World::new("h-redirects") else {
        return;
    };
    world.deadline = "8s";
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let servers = threads();
    let listener = servers.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let registry = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let ports = servers.block_on(silent_servers(100));
    let redirected = Arc::new(AtomicUsize::new(0));
    servers.spawn(redirect(listener, ports, Arc::clone(&redirected)));
    let policy = world.policy()
        + &format!(
            "[[root]]\nid = \"beside\"\ntype = \"cosign\"\nkeys = [\"beside.pub\"]\n\
             [[rule]]\nmatch = \"{registry}/**\"\nroots = [\"beside\"]\ntags = \"unbound\"\n"
        );
    std::fs::write(world.path("policy/beside.pub"), cosign::public_pem(1)).unwrap();
    world.write_policy(&policy);
    let daemon = world.start();
    let descriptor = format!("{{\"digest\":\"{}\"}}", image.index.digest);
    let questions = 40;
    let asked: Vec<_> = (0..questions)
        .map(|number| {
            let name = format!("{registry}/app{number}:v1");
            let mut command = world.verifier_command(&name, &image.index.digest);
            start(&mut command, descriptor.as_bytes())
        })
        .collect();
    let begun = Instant::now();
    while redirected.load(Ordering::Relaxed) < questions {
        assert!(
            begun.elapsed() < PATIENCE,
            "not every question was redirected"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    // The registry's own, eight that it leads to, and the honest server's.
    let threads = source_threads(&daemon.pid());
    assert!((2..=10).contains(&threads), "{threads} threads");
    let healthy = world.verifier("r.test/team/app:v1", &image.index.digest);
    assert_eq!(healthy.code, 0, "{healthy:?}");
    for asked in asked {
        let asked = ended(asked.wait_with_output().unwrap());
        assert_eq!(asked.code, 1, "{asked:?}");
    }
    assert_eq!(daemon.stop().0, 0);
}
