//! Which documents of a namespace list a digest, and which image records lead to one. It leads to
//! where to look: whoever asks it has containerd show the document and the record anew, and proves
//! the rest from the bytes.
//!
//! What it has of a document is true for good, since a digest says what the bytes are. So it may
//! know too much and does no harm. Where it follows containerd's events it knows no less than a
//! whole listing shows (`follow.rs`); else it has what the last listing's labels said.

mod follow;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};

use crate::engines::containerd::{BlobInfo, RecordedName};
use rootpin_trust::image::{Blob, Digest, ImageRef, MAX_INDEXES};

pub(super) use follow::follow;

/// The memory of the index of all namespaces together. If they need more, the largest is given up,
/// and each of its layers costs a listing.
const MAX_BYTES: usize = 16 << 20;
/// What a pair of a digest and a document, or a record beside its name, needs of it at most.
const PAIR: usize = 64;
/// And a document beside its pairs.
const DOCUMENT: usize = 128;
/// After so long a namespace that had too much is read anew: what was deleted is then forgotten.
const ANEW: Duration = Duration::from_secs(60 * 60);
/// So many namespaces are indexed: those that layers were unpacked in last.
const MAX_NAMESPACES: usize = 16;
/// So many documents are looked at one by one for a hint; a layer that more list may need more.
const MAX_DOCUMENTS: usize = 8;
/// And so many image records.
const MAX_NAMES: usize = 4;
/// Documents and records above a layer that are asked for one by one. With more, one listing is
/// cheaper.
const MAX_WAY: usize = 64;

/// The index of one containerd, by namespace.
#[derive(Debug, Default)]
pub(super) struct StoreIndex {
    known: Mutex<KnownNamespaces>,
    /// A namespace is wanted that is not followed.
    wants: Notify,
    /// How many questions list a namespace now.
    listings: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct KnownNamespaces {
    uses: u64,
    /// Each with the number of its last use.
    all: BTreeMap<String, (u64, NamespaceIndex)>,
    /// Whether a stream of events is being followed.
    is_connected: bool,
    /// What to follow next.
    wanted: BTreeSet<String>,
    /// Namespaces that can't be followed, by this stream, until then.
    given_up: BTreeMap<String, Instant>,
    /// Marks that were published, and who waits for each to come back.
    marks: HashMap<String, oneshot::Sender<()>>,
    /// The last mark that was waited for in vain and has not come back, and since when.
    late: Option<(String, Instant)>,
}

/// Where a namespace's index comes from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// The labels that a listing showed. The next listing takes its place.
    #[default]
    Labels,
    /// The bytes of documents, from a stream of events that ended.
    Documents,
    /// The bytes of those that came since; those before are being read.
    Begun,
    /// The bytes of all documents, and all records.
    All,
}

/// 64 bits of a digest stand for it where a clash only makes one more question.
#[derive(Debug, Default)]
struct NamespaceIndex {
    knows: Knows,
    /// When it was begun to follow the namespace.
    begun: Option<Instant>,
    documents: Vec<Digest>,
    numbers: HashMap<Digest, u32>,
    /// A digest, and the place of a document that lists it.
    listed_in: BTreeSet<(u64, u32)>,
    /// A digest, and the name of a record that stands for it.
    named: BTreeSet<(u64, Box<str>)>,
    /// The bytes of these names.
    name_bytes: usize,
}

/// Documents above a layer, and names of records that stand for them.
pub(super) type Way = (BTreeSet<Digest>, Vec<String>);

impl StoreIndex {
    /// A part of what may lie above a layer; none where nothing is known of the namespace. With a
    /// manifest, that one alone and what is above it.
    pub(super) fn hints(
        &self,
        namespace: &str,
        layer: &Digest,
        manifest: Option<Digest>,
    ) -> Option<Way> {
        let mut known = self.lock();
        let KnownNamespaces { uses, all, .. } = &mut *known;
        let (last, index) = all.get_mut(namespace)?;
        *uses += 1;
        *last = *uses;
        let documents = index.above(layer, manifest);
        let names = index.names(&documents, MAX_NAMES);
        Some((documents, names))
    }

    /// All that may lie above these layers, in a namespace that is followed; none where it isn't,
    /// or where it is much.
    pub(super) fn way(&self, namespace: &str, layers: &[Digest]) -> Option<Way> {
        let mut known = self.lock();
        let KnownNamespaces { uses, all, .. } = &mut *known;
        let (last, index) = all.get_mut(namespace)?;
        if index.knows != Knows::All {
            return None;
        }
        *uses += 1;
        *last = *uses;
        let way = index.way(layers);
        // Much of it may be deleted since. The next question has the namespace read anew.
        if way.is_none() && index.begun.is_some_and(|begun| begun.elapsed() >= ANEW) {
            all.remove(namespace);
        }
        way
    }

    /// Takes the place of what an earlier listing showed. `document` gives what was read already.
    pub(super) fn learn(
        &self,
        namespace: &str,
        blobs: &[BlobInfo],
        records: &[RecordedName],
        document: impl Fn(&Digest) -> Option<std::sync::Arc<Blob>>,
    ) {
        if self.lock().is_followed(namespace) {
            return;
        }
        let index = NamespaceIndex::of(blobs, records, document);
        let mut known = self.lock();
        if known.is_followed(namespace) {
            return;
        }
        known.all.remove(namespace);
        if let Some(index) = index {
            known.insert(namespace, index);
        }
    }

    fn lock(&self) -> MutexGuard<'_, KnownNamespaces> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the follower does.
impl StoreIndex {
    /// A stream of events begins.
    fn connect(&self) {
        let mut known = self.lock();
        known.is_connected = true;
        known.given_up.clear();
        known.late = None;
    }

    /// The stream has ended: nothing is followed any more.
    fn disconnect(&self) {
        let mut known = self.lock();
        known.is_connected = false;
        known.marks.clear();
        for (_, index) in known.all.values_mut() {
            if matches!(index.knows, Knows::Begun | Knows::All) {
                index.knows = Knows::Documents;
            }
        }
    }

    /// From now on, what comes into the namespace is added. False: it is followed already, or is
    /// not to be. Of too many, the one that was used least recently is no longer followed.
    fn begin(&self, namespace: &str) -> bool {
        let mut known = self.lock();
        let until = known.given_up.get(namespace);
        let is_given_up = until.is_some_and(|until| *until > Instant::now());
        if !known.is_connected || is_given_up || known.is_followed(namespace) {
            return false;
        }
        let all = known.all.values();
        if all.filter(|(_, index)| index.is_followed()).count() >= MAX_NAMESPACES {
            known.drop_oldest(true);
        }
        let before = known.all.remove(namespace).map(|(_, index)| index);
        let mut index = before
            .filter(|index| index.knows == Knows::Documents)
            .unwrap_or_default();
        index.knows = Knows::Begun;
        index.begun = Some(Instant::now());
        known.insert(namespace, index);
        true
    }

    /// All that was in the namespace when it was begun has been added.
    fn finish(&self, namespace: &str) {
        if let Some((_, index)) = self.lock().all.get_mut(namespace)
            && index.knows == Knows::Begun
        {
            index.knows = Knows::All;
        }
    }

    /// The namespace is not followed for so long.
    fn give_up(&self, namespace: &str, pause: Duration) {
        self.lock().give_up(namespace, pause);
    }

    fn is_followed(&self, namespace: &str) -> bool {
        self.lock().is_followed(namespace)
    }

    /// Whether that document was added.
    fn has(&self, namespace: &str, document: &Digest) -> bool {
        let known = self.lock();
        let index = known.all.get(namespace);
        index.is_some_and(|(_, index)| index.numbers.contains_key(document))
    }

    fn add(&self, namespace: &str, document: &Blob) {
        self.change(namespace, |index| index.add_document(document));
    }

    fn add_record(&self, namespace: &str, record: &RecordedName) {
        self.change(namespace, |index| index.add_record(record));
    }

    fn change(&self, namespace: &str, change: impl FnOnce(&mut NamespaceIndex)) {
        let mut known = self.lock();
        if let Some((_, index)) = known.all.get_mut(namespace)
            && index.is_followed()
        {
            change(index);
            known.give_up_largest();
        }
    }

    /// Has the namespace followed, as soon as that can be.
    fn want(&self, namespace: &str) {
        let mut known = self.lock();
        if known.wanted.len() < MAX_NAMESPACES {
            known.wanted.insert(namespace.to_owned());
        }
        self.wants.notify_one();
    }

    /// The next namespace that is wanted.
    async fn wanted(&self) -> String {
        loop {
            let next = self.lock().wanted.pop_first();
            if let Some(next) = next {
                return next;
            }
            self.wants.notified().await;
        }
    }

    /// Resolves once the mark has come back.
    fn expect(&self, mark: &str) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut known = self.lock();
        // Nobody waits any more for those that didn't come back in time.
        known.marks.retain(|_, waiting| !waiting.is_closed());
        known.marks.insert(mark.to_owned(), sender);
        receiver
    }

    fn hear(&self, mark: &str) {
        let mut known = self.lock();
        if known.late.as_ref().is_some_and(|(late, _)| late == mark) {
            known.late = None;
        }
        if let Some(heard) = known.marks.remove(mark) {
            let _ = heard.send(());
        }
    }

    /// The mark was waited for in vain.
    fn missed(&self, mark: &str) {
        let mut known = self.lock();
        if known.marks.remove(mark).is_some() {
            known.late = Some((mark.to_owned(), Instant::now()));
        }
    }

    /// Whether a mark is late that was missed within that time: another would come after it.
    fn is_behind(&self, within: Duration) -> bool {
        let known = self.lock();
        let late = known.late.as_ref();
        late.is_some_and(|(_, since)| since.elapsed() < within)
    }
}

impl KnownNamespaces {
    fn is_followed(&self, namespace: &str) -> bool {
        let index = self.all.get(namespace);
        index.is_some_and(|(_, index)| index.is_followed())
    }

    /// Adds an index in place of the one that was used least recently, of those that are not
    /// followed.
    fn insert(&mut self, namespace: &str, index: NamespaceIndex) {
        if self.all.len() >= MAX_NAMESPACES && !self.drop_oldest(false) {
            return;
        }
        self.uses += 1;
        self.all.insert(namespace.to_owned(), (self.uses, index));
        self.give_up_largest();
    }

    /// Drops the index that was used least recently, of those that are followed or of the others.
    fn drop_oldest(&mut self, followed: bool) -> bool {
        let all = self.all.iter();
        let those = all.filter(|(_, (_, index))| index.is_followed() == followed);
        let oldest = those.min_by_key(|(_, (last, _))| *last);
        let oldest = oldest.map(|(name, _)| name.clone());
        oldest.is_some_and(|oldest| self.all.remove(&oldest).is_some())
    }

    /// Until all together fit.
    fn give_up_largest(&mut self) {
        let size = |(_, index): &(u64, NamespaceIndex)| index.size();
        while self.all.values().map(size).sum::<usize>() > MAX_BYTES {
            let largest = self.all.iter().max_by_key(|(_, index)| size(index));
            let Some(largest) = largest.map(|(name, _)| name.clone()) else {
                return;
            };
            self.give_up(&largest, ANEW);
        }
    }

    fn give_up(&mut self, namespace: &str, pause: Duration) {
        let now = Instant::now();
        self.all.remove(namespace);
        self.given_up.retain(|_, until| *until > now);
        self.given_up.insert(namespace.to_owned(), now + pause);
    }
}

impl NamespaceIndex {
    fn of(
        blobs: &[BlobInfo],
        records: &[RecordedName],
        document: impl Fn(&Digest) -> Option<std::sync::Arc<Blob>>,
    ) -> Option<Self> {
        let mut index = Self::default();
        for info in blobs {
            let labelled = info.listed().filter_map(|text| text.parse().ok());
            let labelled: Vec<Digest> = labelled.collect();
            // What imports and BuildKit write has no such label.
            if !labelled.is_empty() {
                index.add_pairs(info.digest, labelled.into_iter());
            } else if let Some(document) = document(&info.digest) {
                index.add_document(&document);
            }
            if index.size() > MAX_BYTES {
                return None;
            }
        }
        for record in records {
            index.add_record(record);
        }
        (index.size() <= MAX_BYTES).then_some(index)
    }

    fn is_followed(&self) -> bool {
        matches!(self.knows, Knows::Begun | Knows::All)
    }

    /// In bytes, roughly.
    fn size(&self) -> usize {
        let pairs = self.listed_in.len() + self.named.len();
        pairs * PAIR + self.documents.len() * DOCUMENT + self.name_bytes
    }

    fn add_document(&mut self, document: &Blob) {
        let entries = document.entries().iter();
        let children = entries.map(|entry| entry.descriptor.digest);
        self.add_pairs(document.digest(), children.chain(document.content()));
    }

    fn add_pairs(&mut self, document: Digest, children: impl Iterator<Item = Digest>) {
        let Ok(next) = u32::try_from(self.documents.len()) else {
            return;
        };
        let number = *self.numbers.entry(document).or_insert(next);
        if number == next {
            self.documents.push(document);
        }
        let pairs = children.map(|child| (short(&child), number));
        self.listed_in.extend(pairs);
    }

    /// Names in full alone: what would first have to be made one is nobody's word on a repository.
    /// But a record of a registry is a sign whatever its name is.
    fn add_record(&mut self, record: &RecordedName) {
        if record.is_of_registry || ImageRef::from_full(&record.name).is_ok() {
            let name = record.name.as_str().into();
            if self.named.insert((short(&record.target), name)) {
                self.name_bytes += record.name.len();
            }
        }
    }

    /// Documents that list the layer, and those above them, the last of each where there are many:
    /// the first may be deleted since. With a manifest, that one of them alone; none where it is not known to list the layer.
    fn above(&self, layer: &Digest, manifest: Option<Digest>) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        let mut level: Vec<Digest> = self
            .listing(layer)
            .filter(|document| manifest.is_none_or(|manifest| manifest == *document))
            .collect();
        for _ in 0..=MAX_INDEXES {
            level.retain(|document| found.len() < MAX_DOCUMENTS && found.insert(*document));
            level = level
                .iter()
                .flat_map(|document| self.listing(document))
                .collect();
        }
        found
    }

    /// All documents above these layers and their names, unless they are many.
    fn way(&self, layers: &[Digest]) -> Option<Way> {
        let documents = self.all_above(layers)?;
        let names = self.names(&documents, MAX_WAY + 1);
        (names.len() <= MAX_WAY).then_some((documents, names))
    }

    /// All documents above these layers, unless they are many.
    fn all_above(&self, layers: &[Digest]) -> Option<BTreeSet<Digest>> {
        let mut found = BTreeSet::new();
        let mut open = layers.to_vec();
        while let Some(child) = open.pop() {
            for document in self.listing(&child) {
                if found.insert(document) {
                    open.push(document);
                }
                if found.len() > MAX_WAY {
                    return None;
                }
            }
        }
        Some(found)
    }

    /// Documents that list it, the last first.
    fn listing(&self, child: &Digest) -> impl Iterator<Item = Digest> + '_ {
        let child = short(child);
        let pairs = self.listed_in.range((child, 0)..=(child, u32::MAX)).rev();
        let numbers = pairs.filter_map(|(_, number)| usize::try_from(*number).ok());
        numbers.filter_map(|number| self.documents.get(number).copied())
    }

    /// Distinct names of records that stood for one of these, so many at most, in the order of the
    /// names. Fewer than that are all.
    fn names(&self, digests: &BTreeSet<Digest>, most: usize) -> Vec<String> {
        let of_digest = |digest| {
            let digest = short(digest);
            let pairs = self.named.range((digest, Box::from(""))..);
            let own = pairs.take_while(move |(known, _)| *known == digest);
            own.map(|(_, name)| &**name)
        };
        let mut found = BTreeSet::new();
        for name in digests.iter().flat_map(of_digest) {
            if found.len() == most {
                break;
            }
            found.insert(name);
        }
        found.into_iter().map(str::to_owned).collect()
    }
}

fn short(digest: &Digest) -> u64 {
    let [first, ..] = digest.as_bytes().as_chunks::<8>().0 else {
        return 0;
    };
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

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

    /// A manifest of one layer.
    fn manifest(layer: usize) -> Blob {
        let described = |kind: &str, digest: Digest| json!({"mediaType": kind, "digest": digest.to_string(), "size": 1});
        let config = described("application/vnd.oci.image.config.v1+json", digest(0));
        let layer = described("application/vnd.oci.image.layer.v1.tar", digest(layer));
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let text =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
        Blob::read(text.to_string().as_bytes()).unwrap()
    }

    fn record(name: &str, target: Digest) -> RecordedName {
        RecordedName {
            name: name.to_owned(),
            target,
            is_of_registry: false,
        }
    }

    fn listed(blobs: &[BlobInfo], records: &[RecordedName]) -> Option<NamespaceIndex> {
        NamespaceIndex::of(blobs, records, |_| None)
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
            record("r.test/team/app:v1", digest(20)),
            record(&digest(20).to_string(), digest(20)),
            record("r.test/team/other:v1", digest(11)),
        ];
        let index = listed(&blobs, &records).unwrap();
        let of_second = index.above(&digest(2), None);
        assert_eq!(of_second, [digest(10), digest(20)].into());
        assert_eq!(index.names(&of_second, MAX_NAMES), ["r.test/team/app:v1"]);
        let of_both = index.above(&digest(1), None);
        assert_eq!(of_both, [digest(10), digest(11), digest(20)].into());
        assert_eq!(index.names(&of_both, MAX_NAMES).len(), 2);
        let annotated = index.above(&digest(1), Some(digest(11)));
        assert_eq!(annotated, [digest(11)].into());
        assert!(index.above(&digest(1), Some(digest(12))).is_empty());
        assert!(index.above(&digest(3), None).is_empty(), "a configuration");
    }

    #[test]
    fn of_very_many_namespaces_those_used_last_have_hints_whatever_their_names_are() {
        let all = StoreIndex::default();
        let learn = |name: &str| all.learn(name, &[document(10, &[("l.0", 1)])], &[], |_| None);
        let has = |name: &str| all.hints(name, &digest(1), None).is_some();
        learn("a-used");
        for number in 0..3 * MAX_NAMESPACES {
            learn(&format!("n{number}"));
            assert!(has("a-used"), "{number}");
        }
        assert!(!has("n0"));
        let last = (0..3 * MAX_NAMESPACES).filter(|number| has(&format!("n{number}")));
        assert_eq!(last.count(), MAX_NAMESPACES - 1);
    }

    #[test]
    fn documents_that_list_each_other_in_a_circle_end_the_search() {
        let blobs = [
            document(10, &[("m.0", 20), ("l.0", 1)]),
            document(20, &[("m.0", 10)]),
        ];
        let index = listed(&blobs, &[]).unwrap();
        assert_eq!(index.above(&digest(1), None).len(), 2);
        assert_eq!(index.all_above(&[digest(1)]).unwrap().len(), 2);
    }

    #[test]
    fn a_layer_of_very_many_images_costs_a_bounded_number_of_questions() {
        let of = |count: usize| {
            let manifests = 10..10 + count;
            let blobs: Vec<_> = manifests
                .map(|number| document(number, &[("l.0", 1)]))
                .collect();
            listed(&blobs, &[]).unwrap()
        };
        assert_eq!(of(5000).above(&digest(1), None).len(), MAX_DOCUMENTS);
        assert_eq!(of(MAX_WAY).all_above(&[digest(1)]).unwrap().len(), MAX_WAY);
        assert_eq!(of(MAX_WAY + 1).all_above(&[digest(1)]), None);
    }

    #[test]
    fn a_hint_leads_to_documents_that_came_last() {
        let count = 3 * MAX_DOCUMENTS;
        let manifests = 10..10 + count;
        let blobs: Vec<_> = manifests
            .map(|number| document(number, &[("l.0", 1)]))
            .collect();
        let above = listed(&blobs, &[]).unwrap().above(&digest(1), None);
        let last = 10 + count - MAX_DOCUMENTS..10 + count;
        assert_eq!(above, last.map(digest).collect());
    }

    #[test]
    fn a_namespace_of_too_many_pairs_has_no_hints_rather_than_some() {
        let most = (MAX_BYTES - DOCUMENT) / PAIR;
        let entry = |number: usize| (format!("l.{number}"), number);
        let entries: Vec<_> = (0..=most).map(entry).collect();
        let labels: Vec<_> = entries
            .iter()
            .map(|(kind, child)| (kind.as_str(), *child))
            .collect();
        assert!(listed(&[document(10, &labels)], &[]).is_none());
        assert!(listed(&[document(10, &labels[1..])], &[]).is_some());
        let all = StoreIndex::default();
        let has = || all.hints("default", &digest(1), None).is_some();
        all.learn("default", &[document(10, &labels[1..])], &[], |_| None);
        assert!(has());
        all.learn("default", &[document(10, &labels)], &[], |_| None);
        assert!(!has(), "not those of before");
    }

    #[test]
    fn a_way_is_whole_only_while_events_are_followed_and_all_that_was_there_before_was_read() {
        let index = StoreIndex::default();
        let way = |layer: usize| index.way("default", &[digest(layer)]);
        assert!(!index.begin("default"), "no stream");
        index.connect();
        assert!(index.begin("default") && !index.begin("default"));
        index.add("default", &manifest(1));
        index.add_record("default", &record("r.test/app:v1", manifest(1).digest()));
        assert!(way(1).is_none(), "others are not read yet");
        index.finish("default");
        let (documents, names) = way(1).unwrap();
        assert_eq!(documents, [manifest(1).digest()].into());
        assert_eq!(names, ["r.test/app:v1"]);
        assert_eq!(way(2).unwrap(), Way::default());
        index.add("default", &manifest(2));
        assert_eq!(way(2).unwrap().0, [manifest(2).digest()].into());
        index.add("other", &manifest(3));
        assert!(index.way("other", &[digest(3)]).is_none());
        index.learn("default", &[], &[], |_| None);
        assert!(way(1).is_some(), "a listing takes nothing away");
        index.disconnect();
        assert!(way(1).is_none());
        assert!(index.hints("default", &digest(1), None).is_some());
        index.add("default", &manifest(4));
        index.connect();
        assert!(index.begin("default"));
        index.finish("default");
        assert!(
            index.has("default", &manifest(1).digest()),
            "it is true for good"
        );
        assert!(!index.has("default", &manifest(4).digest()));
    }

    #[test]
    fn a_way_has_the_name_of_the_last_document_however_many_records_of_others_share_their_names() {
        for (documents, shared) in [
            (MAX_WAY / 2 + 1, 2),
            (MAX_WAY, 1),
            (2, MAX_WAY - 1),
            (MAX_WAY, 60),
        ] {
            let index = StoreIndex::default();
            index.connect();
            assert!(index.begin("default"));
            let tops: BTreeSet<Digest> = (10..10 + documents).map(digest).collect();
            for top in &tops {
                let layers = [digest(1)].into_iter();
                index.change("default", |index| index.add_pairs(*top, layers));
                for number in 0..shared {
                    let name = format!("r.other/app:v{number}");
                    index.add_record("default", &record(&name, *top));
                }
            }
            let claimant = record("r.test/team/app:v1", *tops.last().unwrap());
            index.add_record("default", &claimant);
            index.finish("default");
            let (found, names) = index.way("default", &[digest(1)]).unwrap();
            assert_eq!((found, names.len()), (tops, shared + 1));
            assert!(names.contains(&claimant.name), "{documents} {shared}");
            // One name too many: no way, rather than a part of it.
            for number in 0..MAX_WAY {
                let name = format!("r.other/more:v{number}");
                index.add_record("default", &record(&name, digest(10)));
            }
            assert!(index.way("default", &[digest(1)]).is_none());
        }
    }

    /// One that follows these namespaces.
    fn following(namespaces: &[&str]) -> StoreIndex {
        let index = StoreIndex::default();
        index.connect();
        for namespace in namespaces {
            assert!(index.begin(namespace));
            index.finish(namespace);
        }
        index
    }

    /// Lets time pass.
    fn age(index: &StoreIndex, by: Duration) {
        let mut known = index.lock();
        let earlier = |at: &mut Instant| *at = at.checked_sub(by).unwrap();
        known.given_up.values_mut().for_each(earlier);
        let all = known.all.values_mut();
        all.filter_map(|(_, index)| index.begun.as_mut())
            .for_each(earlier);
        known.late.iter_mut().for_each(|(_, since)| earlier(since));
    }

    #[test]
    fn the_largest_of_namespaces_that_are_too_large_together_is_given_up_for_a_while() {
        type Fill = fn(&StoreIndex, &str, usize);
        let records: Fill = |index, namespace, share| {
            for number in 0..share / (PAIR + 16) {
                let name = format!("r.test/a:v{number:06}");
                index.add_record(namespace, &record(&name, digest(1)));
            }
        };
        let names: Fill = |index, namespace, share| {
            let long = "a".repeat(share / 4);
            for number in 0..4 {
                let mut odd = record(&format!("r.test/{long}:v{number}"), digest(1));
                odd.is_of_registry = true;
                index.add_record(namespace, &odd);
            }
        };
        let documents: Fill = |index, namespace, share| {
            for number in 0..share / DOCUMENT {
                let none = std::iter::empty();
                index.change(namespace, |index| index.add_pairs(digest(number), none));
            }
        };
        for fill in [records, names, documents] {
            let index = following(&["large", "small"]);
            fill(&index, "large", MAX_BYTES * 5 / 8);
            assert!(index.is_followed("large"));
            fill(&index, "small", MAX_BYTES / 2);
            assert!(index.is_followed("small") && !index.is_followed("large"));
            assert!(!index.begin("large"));
            age(&index, ANEW);
            assert!(index.begin("large"));
            index.give_up("large", ANEW);
            index.disconnect();
            index.connect();
            assert!(index.begin("large"));
        }
    }

    #[test]
    fn a_namespace_that_has_much_above_a_layer_is_read_anew_after_a_while_without_what_is_gone() {
        let index = following(&["default"]);
        for number in 0..=MAX_WAY {
            let layers = [digest(1)].into_iter();
            index.change("default", |index| {
                index.add_pairs(digest(10 + number), layers);
            });
        }
        let way = || index.way("default", &[digest(1)]);
        assert!(way().is_none() && index.is_followed("default"));
        age(&index, ANEW);
        assert!(index.way("default", &[digest(2)]).is_some());
        assert!(index.is_followed("default"), "of another layer");
        assert!(way().is_none() && !index.is_followed("default"));
        assert!(index.begin("default"));
        index.finish("default");
        assert_eq!(way(), Some(Way::default()));
    }

    #[test]
    fn of_too_many_namespaces_the_one_that_was_asked_about_longest_ago_is_no_longer_followed() {
        let names: Vec<String> = (0..MAX_NAMESPACES).map(|n| format!("n{n:02}")).collect();
        let index = following(&names.iter().map(String::as_str).collect::<Vec<_>>());
        index.learn("more", &[document(10, &[("l.0", 1)])], &[], |_| None);
        assert!(
            names.iter().all(|name| index.is_followed(name)),
            "a listing takes no place"
        );
        assert!(index.way("n00", &[digest(1)]).is_some());
        assert!(index.begin("more"));
        assert!(index.is_followed("more") && index.is_followed("n00"));
        let gone: Vec<_> = names
            .iter()
            .filter(|name| !index.is_followed(name))
            .collect();
        assert_eq!(gone, ["n01"]);
    }

    #[test]
    fn while_a_mark_is_late_no_other_is_waited_for_until_it_comes_or_is_given_up() {
        let index = following(&["default"]);
        let long = Duration::from_secs(30);
        let _waiting = index.expect("one");
        assert!(!index.is_behind(long));
        index.missed("one");
        assert!(index.is_behind(long));
        index.hear("another");
        assert!(index.is_behind(long));
        index.hear("one");
        assert!(!index.is_behind(long));
        index.missed("one");
        assert!(!index.is_behind(long), "it came in the meantime");
        let _waiting = index.expect("lost");
        index.missed("lost");
        age(&index, long);
        assert!(!index.is_behind(long));
        let _waiting = index.expect("lost");
        index.missed("lost");
        index.disconnect();
        index.connect();
        assert!(!index.is_behind(long), "another stream");
    }

    #[tokio::test]
    async fn a_mark_that_comes_back_is_heard_by_who_expects_it_and_by_nobody_once_the_stream_ended()
    {
        let index = StoreIndex::default();
        let (one, other) = (index.expect("one"), index.expect("other"));
        index.hear("unknown");
        index.hear("one");
        one.await.unwrap();
        index.disconnect();
        assert!(other.await.is_err());
    }
}
