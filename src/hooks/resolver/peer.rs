//! Who is at the other end of a loopback connection. What is private at a registry comes with rootpin's own credentials, and a TCP port,
//! unlike a socket file, is open to every user of the host: so the kernel is asked whose connection it is.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};

/// The table of a host with a hundred thousand connections.
const MAX_TABLE: u64 = 32 << 20;
/// `TCP_ESTABLISHED` of the kernel's `include/net/tcp_states.h`. In any other state a socket may have lost its owner, and shows root.
const ESTABLISHED: &str = "01";

/// Whether the process that made a connection runs as root, or as whom this one does.
pub(super) fn is_ours(peer: SocketAddr, here: SocketAddr) -> bool {
    if !peer.ip().is_loopback() {
        return false;
    }
    let table = if peer.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    let mut text = String::new();
    let read = File::open(table).and_then(|file| file.take(MAX_TABLE).read_to_string(&mut text));
    if let Err(error) = read {
        log::warn!("whose connection {peer} is cannot be told: {table}: {error}");
        return false;
    }
    owner(&text, peer, here).is_some_and(|owner| [0, rustix::process::geteuid().as_raw()].contains(&owner))
}

/// The user of a connection, in the kernel's table (proc(5), `/proc/net/tcp`).
fn owner(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let (local, remote) = (written(local), written(remote));
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let same = fields.next() == Some(&local) && fields.next() == Some(&remote) && fields.next() == Some(ESTABLISHED);
        same.then(|| fields.nth(3)?.parse().ok()).flatten()
    };
    table.lines().find_map(line)
}

/// An address as the kernel writes it: each four bytes as a number of the machine's own order.
fn written(address: SocketAddr) -> String {
    let bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = bytes.as_chunks::<4>().0.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word)));
    format!("{}:{:04X}", words.collect::<String>(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_user_of_a_connection_is_told_by_both_of_its_ends() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:13BF 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0000\n   \
                     1: 0100007F:C350 0100007F:13BF 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0000\n   \
                     2: 0100007F:C351 0100007F:13BF 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0000\n";
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        if cfg!(target_endian = "little") {
            assert_eq!(owner(table, at(50000), at(5055)), Some(1000));
            assert_eq!(owner(table, at(50001), at(5055)), None, "a socket without an owner shows root");
            assert_eq!(owner(table, at(50000), at(5056)), None);
        }
    }

    #[test]
    fn a_connection_of_our_own_is_ours() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let here = listener.local_addr().unwrap();
            let stream = TcpStream::connect(here).unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            assert!(is_ours(peer, here), "{peer}");
            drop(stream);
        }
        assert!(!is_ours("192.0.2.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()));
    }
}
