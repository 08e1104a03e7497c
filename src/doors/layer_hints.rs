//! Where the last whole listing of a namespace showed documents that list a digest, and image
//! records that lead to one. Hints about where to look: whoever takes one asks containerd for the
//! document and the record anew, and proves the rest from the bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::engines::containerd::{BlobInfo, RecordedName};
use rootpin_trust::image::{Blob, Digest, ImageRef, MAX_INDEXES};

/// A namespace with more pairs than this has no hints, and each of its layers a listing: 13 MB.
const MAX_PAIRS: usize = 200_000;
/// The hints of so many namespaces are kept: of those that layers were unpacked in last.
const MAX_NAMESPACES: usize = 16;
/// So many documents are looked at one by one; a layer that more list may need the listing.
const MAX_DOCUMENTS: usize = 8;
/// And so many image records.
const MAX_NAMES: usize = 4;

/// The hints of one containerd, by namespace.
#[derive(Debug, Default)]
pub(super) struct LayerHints(Mutex<KnownNamespaces>);

/// Each with the number of its last use.
#[derive(Debug, Default)]
struct KnownNamespaces {
    uses: u64,
    all: BTreeMap<String, (u64, Arc<NamespaceHints>)>,
}

/// Sorted pairs: half the size of a table, and made anew with each listing.
#[derive(Debug, Default)]
pub(super) struct NamespaceHints {
    /// A digest, and a document that lists it.
    listed_in: Vec<(Digest, Digest)>,
    /// A digest, and the name of a record that stands for it.
    named: Vec<(Digest, Box<str>)>,
}

impl LayerHints {
    /// Those of a namespace, if there was a listing.
    pub(super) fn of(&self, namespace: &str) -> Option<Arc<NamespaceHints>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let KnownNamespaces { uses, all } = &mut *known;
        let (last, hints) = all.get_mut(namespace)?;
        *uses += 1;
        *last = *uses;
        Some(Arc::clone(hints))
    }

    /// Takes the place of what an earlier listing showed. `document` gives what was read already.
    pub(super) fn learn(
        &self,
        namespace: &str,
        blobs: &[BlobInfo],
        records: &[RecordedName],
        document: impl Fn(&Digest) -> Option<Arc<Blob>>,
    ) {
        let hints = NamespaceHints::of(blobs, records, document).map(Arc::new);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let KnownNamespaces { uses, all } = &mut *known;
        all.remove(namespace);
        let Some(hints) = hints else {
            return;
        };
        if all.len() >= MAX_NAMESPACES {
            let oldest = all.iter().min_by_key(|(_, (last, _))| *last);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                all.remove(&oldest);
            }
        }
        *uses += 1;
        all.insert(namespace.to_owned(), (*uses, hints));
    }
}

impl NamespaceHints {
    fn of(
        blobs: &[BlobInfo],
        records: &[RecordedName],
        document: impl Fn(&Digest) -> Option<Arc<Blob>>,
    ) -> Option<Self> {
        let mut hints = Self::default();
        for info in blobs {
            let before = hints.listed_in.len();
            let labelled = info.listed().filter_map(|text| text.parse().ok());
            let labelled = labelled.map(|child: Digest| (child, info.digest));
            hints.listed_in.extend(labelled);
            // What imports and BuildKit write has no such label.
            if hints.listed_in.len() == before
                && let Some(document) = document(&info.digest)
            {
                let entries = document.entries().iter();
                let children = entries.map(|entry| entry.descriptor.digest);
                let children = children.chain(document.content());
                hints
                    .listed_in
                    .extend(children.map(|child| (child, info.digest)));
            }
            if hints.listed_in.len() > MAX_PAIRS {
                return None;
            }
        }
        if records.len() > MAX_PAIRS {
            return None;
        }
        let full = records
            .iter()
            .filter(|record| ImageRef::from_full(&record.name).is_ok());
        hints.named = full
            .map(|record| (record.target, record.name.as_str().into()))
            .collect();
        hints.listed_in.sort_unstable();
        hints.listed_in.dedup();
        hints.listed_in.shrink_to_fit();
        hints.named.sort_unstable();
        Some(hints)
    }

    /// Documents that list the layer, and those above them, some of each where there are many. With
    /// a manifest, that one of them alone; none where the listing did not show it.
    pub(super) fn above(&self, layer: &Digest, manifest: Option<Digest>) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        let mut level: Vec<Digest> = of(&self.listed_in, layer)
            .filter(|document| manifest.is_none_or(|manifest| manifest == **document))
            .copied()
            .collect();
        for _ in 0..=MAX_INDEXES {
            level.retain(|document| found.len() < MAX_DOCUMENTS && found.insert(*document));
            let above = level
                .iter()
                .flat_map(|document| of(&self.listed_in, document));
            level = above.copied().collect();
        }
        found
    }

    /// Names of records that stood for one of these.
    pub(super) fn names(&self, digests: &BTreeSet<Digest>) -> Vec<&str> {
        let names = digests.iter().flat_map(|digest| of(&self.named, digest));
        names.map(AsRef::as_ref).take(MAX_NAMES).collect()
    }
}

fn of<'a, T>(pairs: &'a [(Digest, T)], digest: &Digest) -> impl Iterator<Item = &'a T> {
    let start = pairs.partition_point(|(known, _)| known < digest);
    let rest = pairs.get(start..).unwrap_or_default();
    let own = rest.iter().take_while(move |(known, _)| known == digest);
    own.map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn digest(number: usize) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    fn document(number: usize, labels: &[(&str, usize)]) -> BlobInfo {
        let label = |(kind, child): &(&str, usize)| {
            let name = format!("containerd.io/gc.ref.content.{kind}");
            (name, digest(*child).to_string())
        };
        BlobInfo {
            digest: digest(number),
            size: 1,
            labels: labels.iter().map(label).collect::<HashMap<_, _>>(),
        }
    }

    fn record(name: &str, target: usize) -> RecordedName {
        RecordedName {
            name: name.to_owned(),
            target: digest(target),
            is_of_registry: false,
        }
    }

    fn hints(blobs: &[BlobInfo], records: &[RecordedName]) -> Option<NamespaceHints> {
        NamespaceHints::of(blobs, records, |_| None)
    }

    #[test]
    fn a_listing_shows_the_way_from_a_layer_to_its_manifest_its_index_and_their_names() {
        let blobs = [
            document(1, &[]),
            document(10, &[("l.0", 1), ("l.1", 2), ("config", 3)]),
            document(11, &[("l.0", 1)]),
            document(20, &[("m.0", 10)]),
        ];
        let records = [
            record("r.test/team/app:v1", 20),
            record(&digest(20).to_string(), 20),
            record("r.test/team/other:v1", 11),
        ];
        let hints = hints(&blobs, &records).unwrap();
        let of_second = hints.above(&digest(2), None);
        assert_eq!(of_second, [digest(10), digest(20)].into());
        assert_eq!(hints.names(&of_second), ["r.test/team/app:v1"]);
        let of_both = hints.above(&digest(1), None);
        assert_eq!(of_both, [digest(10), digest(11), digest(20)].into());
        assert_eq!(hints.names(&of_both).len(), 2);
        let annotated = hints.above(&digest(1), Some(digest(11)));
        assert_eq!(annotated, [digest(11)].into());
        assert!(hints.above(&digest(1), Some(digest(12))).is_empty());
        assert!(hints.above(&digest(3), None).is_empty(), "a configuration");
    }

    #[test]
    fn of_very_many_namespaces_those_used_last_have_hints_whatever_their_names_are() {
        let all = LayerHints::default();
        let learn = |name: &str| all.learn(name, &[document(10, &[("l.0", 1)])], &[], |_| None);
        learn("a-used");
        for number in 0..3 * MAX_NAMESPACES {
            learn(&format!("n{number}"));
            assert!(all.of("a-used").is_some(), "{number}");
        }
        assert!(all.of("n0").is_none());
        let last = (0..3 * MAX_NAMESPACES).filter(|number| all.of(&format!("n{number}")).is_some());
        assert_eq!(last.count(), MAX_NAMESPACES - 1);
    }

    #[test]
    fn documents_that_list_each_other_in_a_circle_end_the_search() {
        let blobs = [
            document(10, &[("m.0", 20), ("l.0", 1)]),
            document(20, &[("m.0", 10)]),
        ];
        let hints = hints(&blobs, &[]).unwrap();
        assert_eq!(hints.above(&digest(1), None).len(), 2);
    }

    #[test]
    fn a_layer_of_very_many_images_costs_a_bounded_number_of_questions() {
        let blobs: Vec<_> = (10..5000)
            .map(|number| document(number, &[("l.0", 1)]))
            .collect();
        let hints = hints(&blobs, &[]).unwrap();
        assert_eq!(hints.above(&digest(1), None).len(), MAX_DOCUMENTS);
    }

    #[test]
    fn a_namespace_of_too_many_pairs_has_no_hints_rather_than_some() {
        let entry = |number: usize| (format!("l.{number}"), number);
        let entries: Vec<_> = (0..=MAX_PAIRS).map(entry).collect();
        let labels: Vec<_> = entries
            .iter()
            .map(|(kind, child)| (kind.as_str(), *child))
            .collect();
        assert!(hints(&[document(10, &labels)], &[]).is_none());
        assert!(hints(&[document(10, &labels[1..])], &[]).is_some());
        let all = LayerHints::default();
        all.learn("default", &[document(10, &labels[1..])], &[], |_| None);
        assert!(all.of("default").is_some());
        all.learn("default", &[document(10, &labels)], &[], |_| None);
        assert!(all.of("default").is_none(), "not those of before");
    }
}
