//! Break-glass that is in force, in a file beside the state: a restart must neither end it nor bring
//! back one that has ended, and no clock that is set back may lengthen it.
//!
//! Its end stands in the file twice: by the wall clock, and by the time since this boot, which
//! nobody can set. Whichever comes first counts. After a reboot only the wall clock is left, so the
//! file also says which time was seen last: an earlier clock keeps break-glass out of force.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rootpin_trust::image::Digest;
use serde::{Deserialize, Serialize};

/// More than a reason, a pattern and some times need.
const MAX_BYTES: u64 = 16 << 10;

/// The host's clocks at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTime {
    /// By the wall clock.
    pub wall: Timestamp,
    /// Which boot this is.
    pub boot: String,
    /// How long ago it was, with all time that the host slept.
    pub uptime: Duration,
}

/// What root has set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GlassRecord {
    version: u8,
    pub(crate) reason: String,
    pub(crate) pattern: Option<String>,
    begun: String,
    until: String,
    /// This host: a copy of the file on another one means nothing.
    machine: String,
    boot: String,
    /// In seconds since that boot.
    ends: u64,
    /// The latest time that was seen.
    seen: String,
}

/// Whether it is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GlassStanding {
    /// It is.
    InForce,
    /// The clock is behind the time that was seen last, so the end can't be told.
    ClockBehind,
    /// It has ended for good.
    Over(&'static str),
}

/// The file.
#[derive(Debug, Clone)]
pub(crate) struct GlassFile {
    path: PathBuf,
}

impl HostTime {
    /// The present time by both clocks; `wall` by its caller's.
    #[must_use]
    pub fn at(wall: Timestamp) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self {
            wall,
            boot: boot.trim().to_owned(),
            uptime: Duration::from_secs(u64::try_from(since.tv_sec).unwrap_or_default()),
        }
    }
}

impl GlassRecord {
    pub(crate) fn new(
        reason: String,
        pattern: Option<String>,
        lasts: SignedDuration,
        time: &HostTime,
    ) -> Option<Self> {
        let until = time.wall.checked_add(lasts).ok()?;
        Some(Self {
            version: 1,
            reason,
            pattern,
            begun: time.wall.to_string(),
            until: until.to_string(),
            machine: machine(),
            boot: time.boot.clone(),
            ends: time.uptime.as_secs() + u64::try_from(lasts.as_secs()).ok()?,
            seen: time.wall.to_string(),
        })
    }

    pub(crate) fn begun(&self) -> Timestamp {
        self.begun.parse().unwrap_or(Timestamp::MAX)
    }

    pub(crate) fn until(&self) -> Timestamp {
        self.until.parse().unwrap_or(Timestamp::MIN)
    }

    fn seen(&self) -> Timestamp {
        self.seen.parse().unwrap_or(Timestamp::MAX)
    }

    /// Whether it is in force at that time.
    pub(crate) fn standing(&self, time: &HostTime) -> GlassStanding {
        let same_boot = !self.boot.is_empty() && self.boot == time.boot;
        if self.machine != machine() {
            GlassStanding::Over("it was begun on another host")
        } else if time.wall >= self.until() || same_boot && time.uptime.as_secs() >= self.ends {
            GlassStanding::Over("its time is over")
        } else if time.wall < self.begun() || !same_boot && time.wall < self.seen() {
            GlassStanding::ClockBehind
        } else {
            GlassStanding::InForce
        }
    }

    /// The same with that time seen. The first look after a reboot sets the end by the new boot's
    /// clock.
    pub(crate) fn seen_at(&self, time: &HostTime) -> Self {
        let mut record = self.clone();
        if self.standing(time) != GlassStanding::InForce {
            return record;
        }
        if self.boot != time.boot {
            let left = self.until().duration_since(time.wall).as_secs();
            record.boot.clone_from(&time.boot);
            record.ends = time.uptime.as_secs() + u64::try_from(left).unwrap_or_default();
        }
        record.seen = self.seen().max(time.wall).to_string();
        record
    }
}

impl GlassFile {
    /// In a state's folder.
    pub(crate) fn beside(state: &Path) -> Self {
        Self {
            path: state.join("break-glass.json"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; `None` where there is no such file.
    pub(crate) fn read(&self) -> io::Result<Option<GlassRecord>> {
        let odd = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let metadata = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata?,
        };
        let own = fs::metadata("/proc/self")?.uid();
        if !metadata.is_file() || metadata.uid() != own || metadata.mode() & 0o022 != 0 {
            return Err(odd("not a plain file of our own"));
        }
        let mut text = Vec::new();
        File::open(&self.path)?
            .take(MAX_BYTES)
            .read_to_end(&mut text)?;
        let record: GlassRecord = serde_json::from_slice(&text)?;
        if record.version == 1 {
            Ok(Some(record))
        } else {
            Err(odd("of another version"))
        }
    }

    pub(crate) fn write(&self, record: &GlassRecord) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        // Its mode is 0600 from the beginning (tempfile).
        let mut fresh = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(folder)?;
        fresh.write_all(&serde_json::to_vec(record)?)?;
        fresh.as_file().sync_all()?;
        fresh.persist(&self.path)?;
        File::open(folder)?.sync_all()
    }

    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

/// What tells this host from a copy of its disk, as systemd and others have it (machine-id(5): the
/// ID itself is shown to nobody).
fn machine() -> String {
    let id = fs::read("/etc/machine-id").unwrap_or_default();
    Digest::of(&[b"rootpin break-glass ".as_slice(), &id].concat()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(wall: &str, boot: &str, uptime: u64) -> HostTime {
        HostTime {
            wall: wall.parse().unwrap(),
            boot: boot.to_owned(),
            uptime: Duration::from_secs(uptime),
        }
    }

    /// Of two hours.
    fn record() -> GlassRecord {
        let time = at("2030-01-01T12:00:00Z", "first", 1000);
        let lasts = SignedDuration::from_hours(2);
        GlassRecord::new("outage".to_owned(), None, lasts, &time).unwrap()
    }

    #[test]
    fn it_ends_by_whichever_clock_comes_first() {
        use GlassStanding::{ClockBehind, InForce, Over};
        let over = Over("its time is over");
        for (wall, uptime, wanted) in [
            ("2030-01-01T12:00:00Z", 1000, InForce),
            ("2030-01-01T13:59:59Z", 1000 + 2 * HOUR - 1, InForce),
            ("2030-01-01T14:00:00Z", 1000 + HOUR, over),
            // Set back to its beginning again and again: the time since boot goes on.
            ("2030-01-01T12:00:01Z", 1000 + 2 * HOUR - 1, InForce),
            ("2030-01-01T12:00:01Z", 1000 + 2 * HOUR, over),
            ("2029-12-31T00:00:00Z", 1000 + HOUR, ClockBehind),
        ] {
            let standing = record().standing(&at(wall, "first", uptime));
            assert_eq!(standing, wanted, "{wall} {uptime}");
        }
    }

    #[test]
    fn it_survives_a_reboot_and_a_clock_that_was_set_back_meanwhile_does_not_lengthen_it() {
        let seen = record().seen_at(&at("2030-01-01T13:00:00Z", "first", 1000 + HOUR));
        let behind = at("2030-01-01T12:59:59Z", "second", 10);
        assert_eq!(seen.standing(&behind), GlassStanding::ClockBehind);
        assert_eq!(seen.seen_at(&behind), seen, "nothing is learned of it");
        let booted = at("2030-01-01T13:00:30Z", "second", 20);
        assert_eq!(seen.standing(&booted), GlassStanding::InForce);
        // The hour that is left counts by the new boot's clock.
        let again = seen.seen_at(&booted);
        let set_back = |uptime| at("2030-01-01T13:00:31Z", "second", uptime);
        assert_eq!(
            again.standing(&set_back(20 + HOUR - 31)),
            GlassStanding::InForce
        );
        assert_eq!(
            again.standing(&set_back(20 + HOUR - 30)),
            GlassStanding::Over("its time is over")
        );
    }

    #[test]
    fn the_file_brings_it_back_unless_others_could_have_written_it() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let dir = tempfile::tempdir().unwrap();
        let file = GlassFile::beside(dir.path());
        assert_eq!(file.read().unwrap(), None);
        file.write(&record()).unwrap();
        assert_eq!(file.read().unwrap(), Some(record()));
        assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o622)).unwrap();
        assert!(file.read().is_err());
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.remove().unwrap();
        fs::write(dir.path().join("other"), "{}").unwrap();
        symlink("other", file.path()).unwrap();
        assert!(file.read().is_err());
    }

    #[test]
    fn a_copy_on_another_host_means_nothing() {
        let copied = GlassRecord {
            machine: "another".to_owned(),
            ..record()
        };
        let time = at("2030-01-01T12:30:00Z", "first", 1000);
        let standing = copied.standing(&time);
        assert_eq!(
            standing,
            GlassStanding::Over("it was begun on another host")
        );
    }
}
