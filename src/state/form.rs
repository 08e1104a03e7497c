//! What was seen of one repository, and the form in which it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use rootpin_trust::image::Digest;
use rootpin_trust::{Floor, FloorOwner, KeyId, Listed};

use super::FileFault;
use super::key_sets::{self, KeySets};
use super::record::Text;

/// The table of these records.
pub(super) const FLOORS: &str = "floors";
pub(super) const FORMAT: u8 = 1;
/// The form of a record that names a set of root keys, which an earlier rootpin refuses to read.
const NAMING: u8 = 2;

/// What was seen of one repository: one value in the file, so that its floors are there together or
/// not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SeenRecord {
    pub(super) floors: Vec<Floor>,
    /// SHA-256 of the signed bytes of its targets roles, the oldest first.
    pub(super) statements: Vec<Digest>,
    pub(super) signers: BTreeSet<KeyId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordForm {
    format: u8,
    floors: Vec<FloorForm>,
    statements: Vec<Text<Digest>>,
    signers: Vec<Text<KeyId>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FloorForm {
    role: String,
    /// Either these or the name of their set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root_keys: Option<Vec<Text<KeyId>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root_key_set: Option<Text<Digest>>,
    version: u64,
    signed: Text<Digest>,
    keys: Vec<Text<KeyId>>,
    threshold: u64,
    /// Of TUF 1.0 only, like the next ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    listed: BTreeMap<String, ListedForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Text<Timestamp>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerForm {
    pin: Text<Digest>,
    ids: BTreeSet<String>,
    under: Text<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedForm {
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed: Option<Text<Digest>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<Text<Digest>>,
}

impl SeenRecord {
    pub(super) fn form(&self) -> RecordForm {
        let floors: Vec<_> = self.floors.iter().map(FloorForm::of).collect();
        let names = floors.iter().any(|floor| floor.root_key_set.is_some());
        RecordForm {
            format: if names { NAMING } else { FORMAT },
            floors,
            statements: self.statements.iter().copied().map(Text).collect(),
            signers: self.signers.iter().copied().map(Text).collect(),
        }
    }

    pub(super) fn from_form(form: RecordForm, sets: &KeySets) -> Result<Self, FileFault> {
        if !(FORMAT..=NAMING).contains(&form.format) {
            return Err(FileFault::new(format!(
                "{FLOORS}: a record of format {}, and this rootpin knows those up to {NAMING}",
                form.format
            )));
        }
        let floors = form.floors.into_iter().map(|floor| floor.floor(sets));
        Ok(Self {
            floors: floors.collect::<Result<_, _>>()?,
            statements: plain(form.statements),
            signers: plain(form.signers),
        })
    }
}

impl FloorForm {
    fn of(floor: &Floor) -> Self {
        let root_key_set = key_sets::name(&floor.root_keys).map(Text);
        let in_place = || floor.root_keys.iter().copied().map(Text).collect();
        Self {
            role: floor.role.clone(),
            root_keys: root_key_set.is_none().then(in_place),
            root_key_set,
            version: floor.version,
            signed: Text(floor.signed),
            keys: floor.keys.iter().copied().map(Text).collect(),
            threshold: floor.threshold,
            listed: floor
                .listed
                .iter()
                .map(|(role, listed)| (role.clone(), ListedForm::of(listed)))
                .collect(),
            since: floor.since.map(Text),
            owner: floor.owner.as_ref().map(OwnerForm::of),
        }
    }

    fn floor(self, sets: &KeySets) -> Result<Floor, FileFault> {
        let root_keys = match (self.root_keys, self.root_key_set) {
            (Some(keys), None) => Arc::new(plain(keys)),
            (None, Some(Text(name))) => sets.get(&name)?,
            _ => {
                let why = format!("{FLOORS}: a floor with no root keys, or with two sets of them");
                return Err(FileFault::new(why));
            }
        };
        Ok(Floor {
            role: self.role,
            root_keys,
            version: self.version,
            signed: self.signed.0,
            keys: plain(self.keys),
            threshold: self.threshold,
            listed: self
                .listed
                .into_iter()
                .map(|(role, listed)| (role, listed.listed()))
                .collect(),
            since: self.since.map(|Text(since)| since),
            owner: self.owner.map(OwnerForm::owner),
        })
    }
}

impl OwnerForm {
    fn of(owner: &FloorOwner) -> Self {
        Self {
            pin: Text(owner.pin),
            ids: owner.ids.clone(),
            under: Text(owner.under),
        }
    }

    fn owner(self) -> FloorOwner {
        FloorOwner {
            pin: self.pin.0,
            ids: self.ids,
            under: self.under.0,
        }
    }
}

impl ListedForm {
    fn of(listed: &Listed) -> Self {
        Self {
            version: listed.version,
            signed: listed.signed.map(Text),
            pin: listed.pin.map(Text),
        }
    }

    fn listed(self) -> Listed {
        let plain = |digest: Option<Text<Digest>>| digest.map(|Text(digest)| digest);
        Listed {
            version: self.version,
            signed: plain(self.signed),
            pin: plain(self.pin),
        }
    }
}

fn plain<T, C: FromIterator<T>>(texts: Vec<Text<T>>) -> C {
    texts.into_iter().map(|Text(value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::support::floor;

    fn read(text: &str) -> SeenRecord {
        let form = serde_json::from_str(text).unwrap();
        SeenRecord::from_form(form, &KeySets::default()).unwrap()
    }

    #[test]
    fn a_record_of_an_earlier_rootpin_is_read_and_its_floors_are_nobody_s() {
        let (key, digest) = ("12".repeat(32), format!("sha256:{}", "34".repeat(32)));
        let floor = format!(
            r#"{{"role":"timestamp","root_keys":["{key}"],"version":3,"signed":"{digest}","keys":["{key}"],"threshold":1,"listed":{{"snapshot":{{"version":7}}}},"since":"2026-01-02T03:04:05Z"}}"#
        );
        let text =
            format!(r#"{{"format":1,"floors":[{floor}],"statements":[],"signers":["{key}"]}}"#);
        let earlier = read(&text);
        let [floor] = earlier.floors.as_slice() else {
            panic!("{earlier:?}")
        };
        assert_eq!((floor.version, &floor.owner), (3, &None));
        assert_eq!(serde_json::to_string(&earlier.form()).unwrap(), text);
        let mut owned = earlier.clone();
        owned.floors[0].owner = Some(FloorOwner {
            pin: floor.signed,
            ids: BTreeSet::from(["acme".to_owned(), "second".to_owned()]),
            under: floor.signed,
        });
        let text = serde_json::to_string(&owned.form()).unwrap();
        assert_eq!(read(&text), owned);
    }

    #[test]
    fn a_floor_has_its_root_keys_or_the_name_of_a_set_that_is_known_and_never_neither_or_both() {
        let key = |number: u8| KeyId::from_bytes([number; 32]);
        let record = SeenRecord {
            floors: vec![floor("root", &[1, 2, 3, 4, 5, 6, 7, 8, 9], 1, &[1])],
            ..SeenRecord::default()
        };
        let text = serde_json::to_string(&record.form()).unwrap();
        assert!(text.starts_with(r#"{"format":2,"#) && !text.contains("root_keys"));
        let from = |text: &str, sets: &KeySets| {
            SeenRecord::from_form(serde_json::from_str(text).unwrap(), sets)
        };
        let mut sets = KeySets::default();
        assert!(from(&text, &sets).is_err());
        assert!(sets.share(&mut record.floors[0].clone()).unwrap().is_some());
        assert_eq!(from(&text, &sets).unwrap(), record);
        let both = format!(r#""root_keys":["{}"],"root_key_set""#, key(1));
        assert!(from(&text.replace(r#""root_key_set""#, &both), &sets).is_err());
        let (name, named) = (
            key_sets::name(&record.floors[0].root_keys),
            r#""root_key_set":"#,
        );
        let neither = text.replace(&format!("{named}\"{}\",", name.unwrap()), "");
        assert!(!neither.contains("root_key"));
        assert!(from(&neither, &sets).is_err());
    }
}
