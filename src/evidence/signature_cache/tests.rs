use jiff::Timestamp;
use rootpin_trust::MOST_SIGNATURES;
use rootpin_trust::image::Tag;

use super::super::signature_room::MOST_BYTES;
use super::*;

fn file(bytes: &str) -> SignatureFile {
    SignatureFile {
        media_type: "application/cose".to_owned(),
        bytes: bytes.into(),
        signature: None,
    }
}

/// What counts by a key for a tag, until so many seconds after the epoch.
fn found(key: u8, tag: &str, until: i64) -> SignatureFinding {
    SignatureFinding {
        format: "notation-cose",
        key: Some(Digest::of(&[key]).hex().parse().unwrap()),
        claimed_key: None,
        predicate: None,
        tag: Some(tag.to_owned()),
        expires: Timestamp::from_second(until).unwrap(),
        rejected: None,
        is_of_image: true,
        revoked: false,
        is_over: false,
        lacks: None,
    }
}

/// The same by a key that is revoked.
fn revoked(key: u8) -> SignatureFinding {
    SignatureFinding {
        tag: None,
        rejected: Some("its key is revoked".to_owned()),
        revoked: true,
        ..found(key, "", 0)
    }
}

fn padded(name: &str, length: usize) -> SignatureFile {
    file(&[name, &" ".repeat(length - name.len())].concat())
}

fn names(cached: &[u8]) -> Vec<String> {
    let files = read_cached(cached).unwrap().into_iter();
    let name = |file: SignatureFile| String::from_utf8(file.bytes).unwrap();
    let mut names: Vec<_> = files.map(|file| name(file).trim_end().to_owned()).collect();
    names.sort();
    names
}

/// What has no more than a cached file may have.
fn within_limits(cached: &[u8]) -> Vec<String> {
    let files = read_cached(cached).unwrap();
    let bytes: usize = files.iter().map(length).sum();
    assert!(files.len() <= MOST_SIGNATURES && bytes <= MOST_BYTES);
    names(cached)
}

/// What is cached after a search for a tag that one key must have signed.
fn pulled(known: JudgedFiles<'_>, new: JudgedFiles<'_>, tag: Option<&Tag>) -> Vec<u8> {
    let threshold = 1;
    with_found(known, new, DecidingSignatures { tag, threshold })
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|one| one == name)
}

#[test]
fn of_each_key_and_tag_one_signature_is_cached_and_the_smallest_of_equal_ones() {
    let files = ["a, longer", "a", "b", "of v2", "over"].map(file);
    let mut findings = [
        found(1, "v1", 5),
        found(1, "v1", 5),
        found(2, "v1", 5),
        found(1, "v2", 5),
        found(3, "v1", 5),
    ];
    findings[4].rejected = Some("over".to_owned());
    let v1: Tag = "v1".parse().unwrap();
    for tag in [Some(&v1), None] {
        let all = pulled((&[], &[]), (&files, &findings), tag);
        assert_eq!(names(&all), ["a", "b", "of v2"], "{tag:?}");
    }
    assert_eq!(names(&counted(&files, &findings)), ["a", "b", "of v2"]);
    findings[0].expires = Timestamp::MAX;
    let longer = pulled((&[], &[]), (&files, &findings), Some(&v1));
    assert_eq!(names(&longer), ["a, longer", "b", "of v2"]);
}

#[test]
fn neither_many_nor_large_new_signatures_put_one_by_a_revoked_key_out_of_the_cache() {
    let known = [file("revoked")];
    let of_known = [revoked(200)];
    let before = cached_bytes(&known);
    let v1: Tag = "v1".parse().unwrap();
    for (count, length) in [(64, 10), (8, 256 << 10)] {
        for by_many_keys in [true, false] {
            let new: Vec<_> = (0..count)
                .map(|at| padded(&format!("new {at}"), length))
                .collect();
            let of_new: Vec<_> = (0..count)
                .map(|at| match at {
                    _ if by_many_keys => found(at, "v1", 5),
                    0 => found(1, "v1", 5),
                    _ => found(1, &format!("other {at}"), 5),
                })
                .collect();
            let pulled = pulled((&known, &of_known), (&new, &of_new), Some(&v1));
            let written = merged_signatures(&pulled, &before).unwrap_or(pulled);
            let all = within_limits(&written);
            assert!(has(&all, "revoked"), "{all:?}");
            // Of many keys any may be the one without room.
            assert!(by_many_keys || has(&all, "new 0"), "{all:?}");
            assert_eq!(all.len(), usize::from(count));

            let import = |new: &[SignatureFile], of_new: &[SignatureFinding]| {
                with_imported((&known, &of_known), (new, of_new))
            };
            assert!(import(&new, &of_new).is_err());
            let fewer = import(&new[1..], &of_new[1..]).unwrap();
            let all = within_limits(&fewer);
            assert!(has(&all, "revoked") && all.len() == usize::from(count));
        }
    }
}

#[test]
fn a_pull_keeps_other_tags_where_there_is_room_and_caches_its_own_where_there_is_none() {
    let v1: Tag = "v1".parse().unwrap();
    for (count, length, kept) in [
        (3_usize, 10, 5),
        (62, 10, 64),
        (64, 10, 64),
        (6, 256 << 10, 8),
        (8, 256 << 10, 8),
    ] {
        let known: Vec<_> = (0..count)
            .map(|at| padded(&format!("known {at}"), length))
            .collect();
        let of_known: Vec<_> = (0..count)
            .map(|at| found(1, &format!("other {at}"), 5))
            .collect();
        // A small one of yet another tag comes after all that was cached.
        let new = [padded("of v2", 10), padded("of v1", length)];
        let of_new = [found(1, "v2", 5), found(1, "v1", 5)];
        let pulled = pulled((&known, &of_known), (&new, &of_new), Some(&v1));
        let written = merged_signatures(&pulled, &cached_bytes(&known)).unwrap_or(pulled);
        let all = within_limits(&written);
        assert!(has(&all, "of v1"), "{all:?}");
        assert_eq!(all.len(), kept, "{count} of {length}");
        let of_cached = all.iter().filter(|one| one.starts_with("known"));
        let room = if length == 10 { 63 } else { 7 };
        assert_eq!(of_cached.count(), count.min(room), "{count} of {length}");
    }
}

#[test]
fn the_same_signatures_are_cached_as_the_same_bytes_whichever_came_first() {
    let (one, of_one) = ([file("one")], [found(1, "v2", 5)]);
    let (other, of_other) = ([file("two")], [found(1, "v1", 5)]);
    let first = with_imported((&one, &of_one), (&other, &of_other)).unwrap();
    let known = read_cached(&first).unwrap();
    let of_known: Vec<_> = known
        .iter()
        .map(|file| found(1, if *file == one[0] { "v2" } else { "v1" }, 5))
        .collect();
    let again = with_imported((&known, &of_known), (&other, &of_other)).unwrap();
    let reversed = with_imported((&other, &of_other), (&one, &of_one)).unwrap();
    assert_eq!([&again, &reversed], [&first; 2]);
}

/// So many signatures by a key, each of another tag.
fn many(key: u8, count: usize) -> (Vec<SignatureFile>, Vec<SignatureFinding>) {
    let one = |at: usize| {
        let (name, tag) = (format!("{key} of {at}"), format!("t{at}"));
        (file(&name), found(key, &tag, 5))
    };
    (0..count).map(one).unzip()
}

#[test]
fn no_number_of_tags_by_one_key_puts_out_the_tag_that_enough_keys_signed() {
    let (cached, of_cached) = many(1, MOST_SIGNATURES);
    let (mut new, mut of_new) = many(1, 2 * MOST_SIGNATURES);
    for key in [1, 2] {
        let name = format!("v1 by {key}, which is longer than the others");
        new.push(file(&name));
        of_new.push(found(key, "v1", 5));
    }
    let other: Tag = "other".parse().unwrap();
    for tag in [None, Some(&other)] {
        let deciding = DecidingSignatures { tag, threshold: 2 };
        let pulled = with_found((&cached, &of_cached), (&new, &of_new), deciding);
        let all = within_limits(&pulled);
        let of_v1 = all.iter().filter(|one| one.starts_with("v1"));
        assert_eq!((of_v1.count(), all.len()), (2, MOST_SIGNATURES), "{tag:?}");
    }
}

#[test]
fn a_key_that_signs_many_tags_puts_no_other_key_s_out_of_the_cache() {
    let (mut cached, mut of_cached) = many(2, 5);
    let (flood, of_flood) = many(1, 59);
    cached.extend(flood);
    of_cached.extend(of_flood);
    let (new, of_new) = many(1, 2 * MOST_SIGNATURES);
    for asked in ["t63", "t64", "t100"] {
        let tag: Tag = asked.parse().unwrap();
        let pulled = pulled((&cached, &of_cached), (&new, &of_new), Some(&tag));
        let all = within_limits(&pulled);
        let of_second = all.iter().filter(|one| one.starts_with("2 of"));
        assert_eq!((of_second.count(), all.len()), (5, MOST_SIGNATURES));
        assert!(has(&all, &asked.replace('t', "1 of ")), "{all:?}");
    }
    // What another key signed comes in, however much is cached.
    let (cached, of_cached) = many(1, MOST_SIGNATURES);
    let (new, of_new) = many(2, 5);
    let pulled = pulled((&cached, &of_cached), (&new, &of_new), None);
    let all = within_limits(&pulled);
    let of_second = all.iter().filter(|one| one.starts_with("2 of"));
    assert_eq!((of_second.count(), all.len()), (5, MOST_SIGNATURES));
}

#[test]
fn two_cached_files_of_one_image_are_merged_within_the_limit_of_bytes() {
    let large = |name: &str| -> Vec<_> {
        (0..8)
            .map(|at| padded(&format!("{name} {at}"), 200 << 10))
            .collect()
    };
    let (new, known) = (large("new"), large("known"));
    let merged = merged_signatures(&cached_bytes(&new), &cached_bytes(&known)).unwrap();
    let all = within_limits(&merged);
    let of_new = all.iter().filter(|one| one.starts_with("new"));
    assert_eq!((of_new.count(), all.len()), (8, 10));
}

#[test]
fn what_is_cached_and_counts_stays_and_what_counts_for_nothing_makes_room() {
    let known: Vec<_> = (0..MOST_SIGNATURES)
        .map(|at| file(&format!("known {at}")))
        .collect();
    let mut of_known: Vec<_> = (0..MOST_SIGNATURES)
        .map(|at| found(1, &at.to_string(), 5))
        .collect();
    let with = |of_known: &[SignatureFinding], of_new: SignatureFinding| {
        let new = [file("new")];
        let all = with_imported((&known, of_known), (&new, &[of_new]));
        all.map(|bytes| names(&bytes))
    };
    assert!(with(&of_known, found(1, "more", 5)).is_err());
    // The same once more brings nothing, and one that ends later is better.
    let same = with(&of_known, found(1, "0", 5)).unwrap();
    assert!(same.contains(&"known 0".to_owned()) && !same.contains(&"new".to_owned()));
    let later = with(&of_known, found(1, "0", 6)).unwrap();
    assert!(!later.contains(&"known 0".to_owned()) && later.contains(&"new".to_owned()));
    of_known[7].rejected = Some("it is over".to_owned());
    let all = with(&of_known, found(1, "more", 5)).unwrap();
    assert!(all.len() == MOST_SIGNATURES && all.contains(&"new".to_owned()));
    assert!(!all.contains(&"known 7".to_owned()));
    let large = [file(&" ".repeat(MOST_BYTES + 1))];
    assert!(with_imported((&[], &[]), (&large, &[found(1, "v1", 5)])).is_err());
}
