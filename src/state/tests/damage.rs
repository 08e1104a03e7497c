//! Power losses and rotten bits: a floor is never read as lower than it was told to be, or as
//! missing.

use std::thread;

use super::disk::{Disk, open};
use super::support::{at, row, see, verified};
use crate::state::{Additions, Overview, Store};
use rootpin_trust::image::Digest;

/// Magic number, flags, and the two commits that redb chooses from.
const HEADER: usize = 320;
const PAGE: usize = 4096;

/// A state that has seen two repositories, as it lies on a disk while it is open, and after it was
/// closed.
fn images() -> [Vec<u8>; 2] {
    let disk = Disk::default();
    let store = open(&disk).unwrap();
    see(&store, 1, &verified("other", 1)).unwrap();
    see(&store, 1, &verified("app", 1)).unwrap();
    see(&store, 2, &verified("app", 2)).unwrap();
    let open = disk.bytes();
    drop(store);
    [open, disk.bytes()]
}

fn floors(store: &Store) -> Overview {
    Overview {
        rows: Vec::new(),
        ..store.show().unwrap()
    }
}

#[test]
fn a_disk_that_stops_after_any_write_or_sync_leaves_the_old_or_the_new_floor() {
    for image in images() {
        let old = floors(&open(&Disk::holding(&image)).unwrap());
        let add = |store: &Store| {
            let collection = verified("app", 3);
            let rows = vec![(Digest::of(b"layer"), row("app:v1", 600))];
            store.commit(&Additions {
                now: at(90),
                verified: vec![&collection],
                contacts: vec![],
                rows,
            })
        };
        let new = {
            let store = open(&Disk::holding(&image)).unwrap();
            add(&store).unwrap();
            floors(&store)
        };
        assert_ne!(old, new);
        let mut stops = 0;
        loop {
            let disk = Disk::holding(&image).stopping_after(stops);
            let told = match open(&disk) {
                Ok(store) => add(&store).is_ok(),
                Err(_) => false,
            };
            for (image, deep) in disk
                .after_power_loss()
                .iter()
                .zip([true, true, false, false, false, false])
            {
                let disk = Disk::holding(image);
                let store = open(&disk).unwrap();
                let found = floors(&store);
                assert!(
                    found == new || found == old && !told,
                    "after {stops} operations: {found:?}"
                );
                if deep {
                    // What it goes on from holds as well: the flags, and a byte of each commit's
                    // checksum.
                    let opened = disk.bytes();
                    for byte in [9, 191, 319] {
                        assert_harmless(&opened, byte, &found);
                    }
                }
            }
            if !disk.has_stopped() {
                break;
            }
            stops += 1;
        }
        assert!(stops > 20, "{stops}");
    }
}

/// Flips one bit of a byte: which one goes by the byte's place.
fn assert_harmless(image: &[u8], byte: usize, whole: &Overview) {
    for bit in if byte < HEADER {
        0..8
    } else {
        byte % 8..byte % 8 + 1
    } {
        let mut rotten = image.to_vec();
        rotten[byte] ^= 1 << bit;
        let disk = Disk::holding(&rotten);
        // A daemon tries again what could not be opened, and the first attempt may have written.
        for attempt in 1..=2 {
            if let Ok(store) = open(&disk) {
                assert_eq!(
                    floors(&store),
                    *whole,
                    "bit {bit} of byte {byte}, attempt {attempt}"
                );
                disk.stop(); // Spares the work of closing it.
                break;
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_or_changes_no_floor() {
    let images = images();
    // Of the second image, the pages that are not the same in the first.
    let same =
        |page: &usize| images[0].chunks(PAGE).nth(*page) == images[1].chunks(PAGE).nth(*page);
    for (image, skip) in images.iter().zip([
        Vec::new(),
        (0..images[1].len() / PAGE).filter(same).collect(),
    ]) {
        let whole = floors(&open(&Disk::holding(image)).unwrap());
        let (mut read, whole) = (Disk::bytes_read(image), &whole);
        read.retain(|byte| !skip.contains(&(byte / PAGE)));
        assert!(read.len() > 4 * PAGE, "{}", read.len());
        thread::scope(|scope| {
            for bytes in read.chunks(read.len().div_ceil(2)) {
                scope.spawn(move || {
                    for byte in bytes {
                        assert_harmless(image, *byte, whole);
                    }
                });
            }
        });
    }
}
