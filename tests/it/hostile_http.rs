//! Servers that abuse HTTP: whatever they send, the question about their names is refused in time,
//! and another root's answer neither changes nor waits.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::load_support::{peak, threads};
use crate::publisher::Publisher;
use crate::world::{GUN, Image, World, ended, start};

/// What each server does with a connection whose request it has read.
#[derive(Clone, Copy, Debug)]
enum Abuse {
    HeadAByteAtATime,
    BodyAByteAtATime,
    EndlessBody,
    PackedBody,
    RedirectsInACircle,
    HeadOfMegabytes,
    LengthBeyondAll,
    ContinuesForEver,
    Silence,
    NoHttp,
    ClosesAtOnce,
    TokensFromItself,
    TokensFromTheCloud,
}

const ABUSES: [Abuse; 14] = [
    Abuse::HeadAByteAtATime,
    Abuse::BodyAByteAtATime,
    Abuse::EndlessBody,
    Abuse::PackedBody,
    Abuse::RedirectsInACircle,
    Abuse::HeadOfMegabytes,
    Abuse::LengthBeyondAll,
    Abuse::ContinuesForEver,
    // As many as the doors have threads.
    Abuse::ContinuesForEver,
    Abuse::Silence,
    Abuse::NoHttp,
    Abuse::ClosesAtOnce,
    Abuse::TokensFromItself,
    Abuse::TokensFromTheCloud,
];

async fn serve(listener: TcpListener, abuse: Abuse) {
    let port = listener.local_addr().unwrap().port();
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move { drop(answer(stream, port, abuse).await) });
    }
}

async fn answer(mut stream: TcpStream, port: u16, abuse: Abuse) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 8192]).await?;
    let unauthorized = |realm: &str| {
        format!(
            "HTTP/1.1 401 U\r\nWWW-Authenticate: Bearer realm=\"{realm}\",service=\"{}\"\r\nContent-Length: 0\r\n\r\n",
            "x".repeat(3000)
        )
    };
    match abuse {
        Abuse::HeadAByteAtATime => {
            drip(
                &mut stream,
                &format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(9999)),
            )
            .await
        }
        Abuse::BodyAByteAtATime => {
            drip(
                &mut stream,
                &format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{}",
                    "{".repeat(400)
                ),
            )
            .await
        }
        Abuse::EndlessBody => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await?;
            let chunk = [&b"10000\r\n"[..], &vec![b'{'; 0x1_0000], b"\r\n"].concat();
            loop {
                stream.write_all(&chunk).await?;
            }
        }
        Abuse::PackedBody => {
            // A gzip member of zeroes, whose reader would need a thousand times its length.
            let body = packed();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&body).await
        }
        Abuse::RedirectsInACircle => {
            let head = format!(
                "HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:{port}/x\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await
        }
        Abuse::HeadOfMegabytes => {
            stream
                .write_all(
                    format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(5 << 20)).as_bytes(),
                )
                .await
        }
        Abuse::LengthBeyondAll => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n{")
                .await
        }
        Abuse::ContinuesForEver => loop {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        },
        Abuse::Silence => std::future::pending().await,
        Abuse::NoHttp => stream.write_all(&[0xff, 0xfe].repeat(1000)).await,
        Abuse::ClosesAtOnce => Ok(()),
        Abuse::TokensFromItself => {
            stream
                .write_all(unauthorized(&format!("http://127.0.0.1:{port}/t")).as_bytes())
                .await
        }
        Abuse::TokensFromTheCloud => {
            stream
                .write_all(unauthorized("https://169.254.169.254/latest").as_bytes())
                .await
        }
    }
}

async fn drip(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    for byte in text.as_bytes() {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// 64 MiB of zeroes as gzip packs them (RFC 1951: one block of fixed codes, matches of length 258).
fn packed() -> Vec<u8> {
    let mut bits = Vec::new();
    let mut put = |value: u32, count: u32, high_first: bool| {
        for bit in 0..count {
            let at = if high_first { count - 1 - bit } else { bit };
            bits.push(value >> at & 1 == 1);
        }
    };
    put(1, 1, false);
    put(1, 2, false);
    put(0x30, 8, true);
    for _ in 0..(64 << 20) / 258 {
        put(0xC5, 8, true);
        put(0, 5, true);
    }
    put(0, 7, true);
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    bytes.extend(bits.chunks(8).map(|bits| {
        bits.iter()
            .enumerate()
            .map(|(at, bit)| u8::from(*bit) << at)
            .sum::<u8>()
    }));
    bytes.extend([0; 8]);
    bytes
}

#[test]
fn a_server_that_abuses_http_is_refused_in_time_and_costs_no_other_root_its_answer() {
    let Some(mut world) = World::new("h-http") else {
        return;
    };
    world.deadline = "6s";
    let image = Image::named("signed");
    world.sign(&image.index.digest);
    let mut policy = world.policy();
    let key = Publisher::new(GUN).root_key().id();
    // They send as fast as they can, and take no time of the healthy one's.
    let servers = threads();
    for (number, abuse) in ABUSES.into_iter().enumerate() {
        let listener = servers.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        servers.spawn(serve(listener, abuse));
        let _ = write!(
            policy,
            "[[root]]\nid = \"evil{number}\"\ntype = \"notary\"\nserver = \"http://127.0.0.1:{port}\"\nkeys = [\"{key}\"]\nrole = \"targets/releases\"\n\
             [[rule]]\nmatch = \"r.test/evil{number}/*\"\nroots = [\"evil{number}\"]\n"
        );
    }
    world.write_policy(&policy);
    let daemon = world.start();
    let descriptor = format!("{{\"digest\":\"{}\"}}", image.index.digest);
    let begun = Instant::now();
    let asked: Vec<_> = (0..ABUSES.len())
        .map(|number| {
            let name = format!("r.test/evil{number}/app:v1");
            start(
                &mut world.verifier_command(&name, &image.index.digest),
                descriptor.as_bytes(),
            )
        })
        .collect();
    let healthy = world.verifier("r.test/team/app:v1", &image.index.digest);
    let took = begun.elapsed();
    assert_eq!(healthy.code, 0, "{healthy:?}");
    for (abuse, asked) in ABUSES.iter().zip(asked) {
        let asked = ended(asked.wait_with_output().unwrap());
        assert!(
            asked.code == 1 && asked.out.starts_with("rootpin: "),
            "{abuse:?}: {asked:?}"
        );
        assert!(
            !asked.out.contains("does not answer within"),
            "{abuse:?}: the daemon gave no reason: {asked:?}"
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        took < Duration::from_secs(4),
        "the healthy root's answer took {took:?}"
    );
    let peak = peak(&daemon);
    assert!(peak < 128 << 10, "{peak} KiB");
    let begun = Instant::now();
    assert_eq!(daemon.stop().0, 0);
    let took = begun.elapsed();
    assert!(
        took < Duration::from_secs(4),
        "a server that still sends keeps rootpind for {took:?}"
    );
}
