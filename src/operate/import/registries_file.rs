//! One `registries.conf` as its tools load it (`sysregistriesv2` of containers-libs): what makes them
//! refuse every image is an error here.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::go_members::decoded;
use super::reference_grammar::{is_domain, is_full_name, is_short_name};
use crate::problem::Problem;

/// A file that was read.
#[derive(Debug)]
pub(super) struct RegistriesFile {
    /// Its registries, each prefix once.
    pub(super) registries: Vec<Registry>,
    /// Members that mean nothing here.
    pub(super) others: Vec<String>,
}

/// A `[[registry]]`.
#[derive(Debug, Clone)]
pub(super) struct Registry {
    /// The names that it means, without a slash at the end.
    pub(super) prefix: String,
    /// What stands in the prefix's place when bytes are fetched; none: nothing does.
    pub(super) location: String,
    pub(super) blocked: bool,
    pub(super) insecure: bool,
    pub(super) mirror_by_digest_only: bool,
    pub(super) mirrors: Vec<Mirror>,
}

#[derive(Debug, Clone)]
pub(super) struct Mirror {
    pub(super) location: String,
    pub(super) insecure: bool,
    /// `pull-from-mirror`.
    pub(super) used_for: String,
}

const V1: &str = "registries";
const TOP: [&str; 7] = [
    "registry",
    "unqualified-search-registries",
    "credential-helpers",
    "short-name-mode",
    "additional-layer-store-auth-helper",
    "aliases",
    V1,
];
const REGISTRY: [&str; 7] = [
    "prefix",
    "location",
    "insecure",
    "pull-from-mirror",
    "mirror",
    "blocked",
    "mirror-by-digest-only",
];
const MIRROR: [&str; 3] = ["location", "insecure", "pull-from-mirror"];
const V1_LISTS: [&str; 3] = ["search", "insecure", "block"];

impl RegistriesFile {
    /// Reads a file. `drop_in`: it lies in `registries.conf.d`, where the first format is not read.
    ///
    /// # Errors
    /// Its tools refuse it, and with it every image.
    pub(super) fn read(bytes: &[u8], drop_in: bool) -> Result<Self, Problem> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Problem::new(format!("no text: {error}")))?;
        let document: Table = text
            .parse()
            .map_err(|error| Problem::new(format!("no TOML: {error}")))?;
        let top = Section::new(document, &TOP)?;
        let search = top.texts("unqualified-search-registries")?;
        let helpers = top.texts("credential-helpers")?;
        let mode = top.text("short-name-mode")?;
        let layer_store = top.text("additional-layer-store-auth-helper")?;
        let aliases = top.aliases()?;
        let tables = top.sections("registry", &REGISTRY)?;
        let v1 = top.v1()?;
        let is_v2 = tables.is_some()
            || search.is_some()
            || helpers.is_some()
            || aliases.is_some()
            || !mode.is_empty()
            || !layer_store.is_empty();
        if v1.is_some() && drop_in {
            return Err(Problem::new(
                "it has the first format, which is not read in a drop-in",
            ));
        }
        if v1.is_some() && is_v2 {
            return Err(Problem::new("it mixes the first and the second format"));
        }
        let (mut registries, mut searched) = (Vec::new(), search.unwrap_or_default());
        for table in tables.into_iter().flatten() {
            registries.push(Registry::read(&table)?);
        }
        if let Some(v1) = v1 {
            searched.extend(v1.search);
            registries = of_v1(&v1.block, &v1.insecure)?;
        }
        check_wildcards(&registries)?;
        check_conflicts(&registries)?;
        for name in &searched {
            let name = trimmed(name)?;
            if !is_domain(name) {
                return Err(Problem::new(format!(
                    "{name:?} of unqualified-search-registries is no registry"
                )));
            }
        }
        if !["", "enforcing", "permissive", "disabled"].contains(&mode.as_str()) {
            return Err(Problem::new(format!("short-name-mode {mode:?} is none")));
        }
        check_aliases(&aliases.unwrap_or_default())?;
        // Of several with one prefix the first counts.
        let mut known = std::collections::BTreeSet::new();
        registries.retain(|one| known.insert(one.prefix.clone()));
        let is_other = |name: &&String| !["registry", V1].contains(&name.as_str());
        let others = top.members.keys().filter(is_other).cloned();
        Ok(Self {
            registries,
            others: others.collect(),
        })
    }
}

impl Registry {
    /// One that blocks the names of a prefix.
    pub(super) fn blocked(prefix: String) -> Self {
        Self {
            location: prefix.clone(),
            prefix,
            blocked: true,
            insecure: false,
            mirror_by_digest_only: false,
            mirrors: Vec::new(),
        }
    }

    fn read(table: &Section) -> Result<Self, Problem> {
        let location = trimmed(&table.text("location")?)?.to_owned();
        let given = table.text("prefix")?;
        let prefix = trimmed(if given.is_empty() { &location } else { &given })?.to_owned();
        let is_wildcard = prefix.starts_with("*.");
        if location.is_empty() && !is_wildcard {
            return Err(Problem::new(format!(
                "a registry without location (prefix {prefix:?})"
            )));
        }
        if !table.text("pull-from-mirror")?.is_empty() {
            return Err(Problem::new(format!(
                "pull-from-mirror of {prefix:?}, which is no mirror"
            )));
        }
        let by_digest = table.flag("mirror-by-digest-only")?;
        let mut mirrors = Vec::new();
        for mirror in table.sections("mirror", &MIRROR)?.unwrap_or_default() {
            let location = trimmed(&mirror.text("location")?)?.to_owned();
            let from = mirror.text("pull-from-mirror")?;
            if location.is_empty() {
                return Err(Problem::new(format!(
                    "a mirror of {prefix:?} without location"
                )));
            }
            if by_digest && !from.is_empty() {
                return Err(Problem::new(format!(
                    "{prefix:?} has mirror-by-digest-only, and its mirror {location:?} pull-from-mirror"
                )));
            }
            if !["", "all", "digest-only", "tag-only"].contains(&from.as_str()) {
                return Err(Problem::new(format!(
                    "pull-from-mirror {from:?} of {location:?} is none"
                )));
            }
            mirrors.push(Mirror {
                location,
                insecure: mirror.flag("insecure")?,
                used_for: from,
            });
        }
        Ok(Self {
            prefix,
            location,
            blocked: table.flag("blocked")?,
            insecure: table.flag("insecure")?,
            mirror_by_digest_only: by_digest,
            mirrors,
        })
    }
}

/// Without the slashes at its end.
fn trimmed(location: &str) -> Result<&str, Problem> {
    let trimmed = location.trim_end_matches('/');
    if trimmed.starts_with("http://") || trimmed.starts_with("https://") {
        return Err(Problem::new(format!(
            "the location {location:?} has a scheme"
        )));
    }
    Ok(trimmed)
}

/// The lists of the first format as registries.
fn of_v1(block: &[String], insecure: &[String]) -> Result<Vec<Registry>, Problem> {
    let mut registries: Vec<Registry> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let lists = [(block, true), (insecure, false)];
    for (name, blocked) in lists
        .iter()
        .flat_map(|(list, is)| list.iter().map(move |one| (one, *is)))
    {
        let location = trimmed(name)?;
        if location.is_empty() {
            return Err(Problem::new("a registry without location"));
        }
        let known = places.get(location).and_then(|at| registries.get_mut(*at));
        if let Some(known) = known {
            known.insecure |= !blocked;
            continue;
        }
        places.insert(location, registries.len());
        registries.push(Registry {
            blocked,
            insecure: !blocked,
            ..Registry::blocked(location.to_owned())
        });
    }
    Ok(registries)
}

/// Behind `*.` there is a domain and nothing else, in both formats.
fn check_wildcards(registries: &[Registry]) -> Result<(), Problem> {
    let is_wrong =
        |one: &&Registry| one.prefix.starts_with("*.") && one.prefix.contains(['/', '@', ':']);
    match registries.iter().find(is_wrong) {
        Some(one) => Err(Problem::new(format!(
            "{:?} is no domain behind *.",
            one.prefix
        ))),
        None => Ok(()),
    }
}

/// A location that is given several times must be so each time.
fn check_conflicts(registries: &[Registry]) -> Result<(), Problem> {
    let mut known: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for one in registries {
        let place = if one.location.is_empty() {
            &one.prefix
        } else {
            &one.location
        };
        let said = (one.insecure, one.blocked);
        if *known.entry(place).or_insert(said) != said {
            return Err(Problem::new(format!(
                "{place:?} stands several times, with other values of insecure or blocked"
            )));
        }
    }
    Ok(())
}

fn check_aliases(aliases: &BTreeMap<String, String>) -> Result<(), Problem> {
    for (name, value) in aliases {
        if !is_short_name(name) {
            return Err(Problem::new(format!("the alias {name:?} is no short name")));
        }
        if !value.is_empty() && !is_full_name(value) {
            return Err(Problem::new(format!(
                "the alias {name:?} of {value:?}, which is no full name"
            )));
        }
    }
    Ok(())
}

/// The lists of the first format.
struct V1Lists {
    search: Vec<String>,
    insecure: Vec<String>,
    block: Vec<String>,
}

/// A table, whose values have the types that its decoder wants.
struct Section {
    members: BTreeMap<String, Value>,
}

impl Section {
    fn new(table: Table, fields: &[&str]) -> Result<Self, Problem> {
        let members = decoded(table, fields)?;
        Ok(Self { members })
    }

    /// A text; the empty one, if it is not there.
    fn text(&self, name: &str) -> Result<String, Problem> {
        match self.members.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(Problem::new(format!("{name} is no text"))),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.members.get(name) {
            None => Ok(false),
            Some(Value::Boolean(flag)) => Ok(*flag),
            Some(_) => Err(Problem::new(format!("{name} is neither true nor false"))),
        }
    }

    fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Problem> {
        let wrong = || Problem::new(format!("{name} is no list of texts"));
        let Some(value) = self.members.get(name) else {
            return Ok(None);
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let list = value.as_array().ok_or_else(wrong)?;
        let texts: Option<Vec<String>> = list.iter().map(text).collect();
        texts.map(Some).ok_or_else(wrong)
    }

    fn section(&self, name: &str, fields: &[&str]) -> Result<Option<Self>, Problem> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Value::Table(table)) => Self::new(table.clone(), fields).map(Some),
            Some(_) => Err(Problem::new(format!("{name} is no table"))),
        }
    }

    fn sections(&self, name: &str, fields: &[&str]) -> Result<Option<Vec<Self>>, Problem> {
        let wrong = || Problem::new(format!("{name} is no list of tables: wanted [[{name}]]"));
        let Some(value) = self.members.get(name) else {
            return Ok(None);
        };
        let mut sections = Vec::new();
        for one in value.as_array().ok_or_else(wrong)? {
            let table = one.as_table().ok_or_else(wrong)?;
            sections.push(Self::new(table.clone(), fields)?);
        }
        Ok(Some(sections))
    }

    fn aliases(&self) -> Result<Option<BTreeMap<String, String>>, Problem> {
        let Some(value) = self.members.get("aliases") else {
            return Ok(None);
        };
        let wrong = || Problem::new("aliases is no table of texts");
        let mut aliases = BTreeMap::new();
        for (name, value) in value.as_table().ok_or_else(wrong)? {
            let value = value.as_str().ok_or_else(wrong)?;
            aliases.insert(name.clone(), value.to_owned());
        }
        Ok(Some(aliases))
    }

    /// The lists of the first format, if any of them is given.
    fn v1(&self) -> Result<Option<V1Lists>, Problem> {
        let Some(lists) = self.section(V1, &V1_LISTS)? else {
            return Ok(None);
        };
        let list = |name| match lists.section(name, &[V1])? {
            Some(list) => list.texts(V1),
            None => Ok(None),
        };
        let (search, insecure, block) = (list("search")?, list("insecure")?, list("block")?);
        let given = search.is_some() || insecure.is_some() || block.is_some();
        Ok(given.then(|| V1Lists {
            search: search.unwrap_or_default(),
            insecure: insecure.unwrap_or_default(),
            block: block.unwrap_or_default(),
        }))
    }
}
