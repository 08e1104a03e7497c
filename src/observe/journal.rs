//! Entries of systemd's journal with fields of their own, by its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>): one datagram an entry. Where that fails, the line
//! goes to standard error as ever, so that nothing is lost.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A journal that takes entries.
#[derive(Debug)]
pub(super) struct Journal(UnixDatagram);

impl Journal {
    /// The journal, if standard error leads there (`JOURNAL_STREAM`, systemd.exec(5)).
    pub(super) fn of_this_service() -> Option<Self> {
        std::env::var_os("JOURNAL_STREAM")?;
        Self::at(Path::new(SOCKET))
    }

    fn at(path: &Path) -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(path).ok()?;
        // A journal that is behind must not keep a decision waiting.
        socket.set_nonblocking(true).ok()?;
        Some(Self(socket))
    }

    /// Whether it took the entry.
    pub(super) fn send(&self, fields: &[(&str, &str)]) -> bool {
        let mut entry = Vec::new();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            entry.extend_from_slice(name.as_bytes());
            entry.push(b'\n');
            // With its length, so that no value can begin another field.
            let length = u64::try_from(value.len()).unwrap_or_default();
            entry.extend_from_slice(&length.to_le_bytes());
            entry.extend_from_slice(value.as_bytes());
            entry.push(b'\n');
        }
        self.0.send(&entry).is_ok_and(|sent| sent == entry.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of an entry, as journald reads them.
    fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
            let (name, rest) = entry.split_at(end);
            let (length, rest) = rest[1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap());
            let (value, rest) = rest.split_at(usize::try_from(length).unwrap());
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            fields.push((text(name), text(value)));
            entry = &rest[1..];
        }
        fields
    }

    #[test]
    fn no_value_of_an_entry_can_begin_another_field() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path).unwrap();
        let hostile = "x\nPRIORITY=0\n";
        assert!(journal.send(&[
            ("MESSAGE", "refused"),
            ("ROOTPIN_IMAGE", hostile),
            ("ROOTPIN_CODE", "")
        ]));
        let mut entry = [0; 4096];
        let length = journald.recv(&mut entry).unwrap();
        let wanted = [("MESSAGE", "refused"), ("ROOTPIN_IMAGE", hostile)];
        assert_eq!(
            fields(&entry[..length]),
            wanted.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_journal_that_is_away_or_full_takes_nothing_and_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        assert!(Journal::at(&path).is_none());
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path).unwrap();
        let large = "x".repeat(64 << 20);
        assert!(!journal.send(&[("MESSAGE", &large)]));
        let taken = (0..100_000)
            .take_while(|_| journal.send(&[("MESSAGE", "x")]))
            .count();
        assert!(taken < 100_000, "nobody reads it");
        drop(journald);
        assert!(!journal.send(&[("MESSAGE", "x")]));
    }
}
