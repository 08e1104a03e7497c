//! `rootpin repo endorse --list`: many names that others publish, as one change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use super::description::target;
use super::{DEADLINE, Endorse, Here, carry_out, setting, source_of};
use crate::cli::output::{Output, counted, unreadable};
use crate::cli::repo::progress::with_progress;
use crate::cli::repo::signing::read_draft;
use crate::problem::Problem;
use crate::publish::upstream_list::{MOST, UpstreamLine, UpstreamName, read};
use crate::publish::{Activity, Metadata, PublishError, Working, delegation_path, taken_out};
use crate::sources::{Description, SourceError, Sources};
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::{Code, Refusal};

/// Questions that registries are asked at the same time.
const AT_ONCE: usize = 8;
/// For one page of a list.
const PAGE: Duration = Duration::from_secs(30);
/// So much is shown of what can be no name.
const MAX_SHOWN: usize = 80;
/// A longer file is not read.
const MAX_FILE: u64 = 4 << 20;

/// By the name that is signed.
type Names = BTreeMap<String, UpstreamName>;

/// The digest that a name stands for here, and the name that it was endorsed from.
struct Signed {
    digest: Option<String>,
    source: Option<String>,
}

/// What the registry says of a name, and whether hosts can pull it.
enum Upstream {
    /// As it is signed here.
    Unchanged,
    /// Another image than is signed here, or the first.
    New(Box<Description>),
    /// Moved, and not to be taken.
    Moved(Digest),
    /// It can't be endorsed now, for this reason.
    Without(String),
    /// It was revoked here by hand.
    TakenOut,
}

pub(super) async fn run(
    here: &Here,
    working: &Working,
    list: &Path,
    verb: &Endorse,
    output: Output,
) -> Result<u8, PublishError> {
    let lines = lines(list)?;
    let sources = Arc::new(Sources::new(Arc::clone(&here.credentials)));
    let activity = Activity::default();
    let expanding = expand(&sources, &lines, &activity);
    let (names, mut notes) = with_progress(output, &activity, expanding).await?;
    let mine = |name: &&UpstreamName| !working.settings.may_endorse(&name.pulled_as);
    if let Some(other) = names.values().find(mine) {
        let repository = &other.pulled_as;
        return Err(PublishError::wrong(
            format!("{repository} is nothing that this repository endorses"),
            format!("add it to endorses in repository.toml, as endorses = [\"{repository}\"]"),
        ));
    }
    let mut transaction = here.transaction(working, verb.options.local)?;
    let draft = read_draft(&mut transaction, output).await?;
    let signed = signed(&draft.next);
    let taken_out = taken_out::all(&draft.next);
    drop(transaction);
    let known = (&signed, &taken_out);
    let asking = ask_all(&sources, &names, known, verb.update, &activity);
    let found = with_progress(output, &activity, asking).await?;

    let mut targets = BTreeMap::new();
    let (mut moved, mut unchanged, mut stay_out) = (0_usize, 0_usize, Vec::new());
    for (path, upstream) in found {
        let was = signed
            .get(&path)
            .and_then(|signed| signed.digest.as_deref());
        match upstream {
            Upstream::Unchanged => unchanged += 1,
            Upstream::Without(why) => notes.push(format!("left out: {path}: {why}")),
            Upstream::TakenOut => stay_out.push(stays_out(&path, &names)),
            Upstream::Moved(now) => notes.push(format!(
                "moved: {path} is {} here and {now} at its publisher: --update takes it",
                was.unwrap_or_default()
            )),
            Upstream::New(described) => {
                moved += usize::from(was.is_some());
                let from = names.get(&path).map(upstream_name).unwrap_or_default();
                let source = source_of(&from, described.digest);
                targets.insert(path, target(&described, Some(source)));
            }
        }
    }
    let open = usize::from(!notes.is_empty());
    notes.extend(stay_out);
    notes.extend(gone(&lines, &names, &signed));
    let mut about = vec![format!(
        "endorse {} of {}: {} new, {moved} moved; {unchanged} unchanged",
        counted(targets.len(), "name"),
        list.display(),
        targets.len() - moved
    )];
    about.extend(notes.iter().map(|note| format!("  {note}")));
    let change = setting(&targets, verb.role.as_deref(), working);
    let code = carry_out(here, working, change, &about, &verb.options, output).await?;
    Ok(code.max(u8::from(open > 0)))
}

fn lines(list: &Path) -> Result<Vec<UpstreamLine>, PublishError> {
    let failed = |error: std::io::Error| PublishError::Wrong(unreadable(list, &error));
    let about = std::fs::metadata(list).map_err(failed)?;
    if !about.is_file() || about.len() > MAX_FILE {
        return Err(PublishError::wrong(
            format!(
                "{} is no plain file of at most {MAX_FILE} bytes",
                list.display()
            ),
            "name a file with NAME:TAG on each line",
        ));
    }
    let text = std::fs::read_to_string(list).map_err(failed)?;
    let lines = read(&text).map_err(|why| {
        PublishError::wrong(
            format!("{}: {why}", list.display()),
            "write docker.io/library/alpine:3.20, docker.io/library/*:3.*, or NAME:TAG as NAME",
        )
    })?;
    if lines.is_empty() {
        return Err(PublishError::wrong(
            format!("{} lists nothing", list.display()),
            "write NAME:TAG on each line",
        ));
    }
    Ok(lines)
}

/// The names that the lines mean, by what the registries list; and notes of what they list no names
/// for.
async fn expand(
    sources: &Sources,
    lines: &[UpstreamLine],
    activity: &Activity,
) -> Result<(Names, Vec<String>), PublishError> {
    let mut notes = Vec::new();
    let (mut names, mut catalogs) = (Names::new(), BTreeMap::<String, Vec<String>>::new());
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let notes_before = notes.len();
        let paths = match (line.repository(), line.some_repository()) {
            (Some(one), _) => vec![one],
            (None, Some(some)) => {
                let host = some.host().to_owned();
                if !catalogs.contains_key(&host) {
                    activity.set(format!("asking {host} which repositories it has"));
                    let listed = sources.repositories(&some, PAGE).await;
                    catalogs.insert(host.clone(), listed_by(&host, "repositories", listed)?);
                }
                let paths = catalogs.get(&host).into_iter().flatten();
                let (mut full, mut odd) = (Vec::new(), Vec::new());
                for path in paths {
                    match Repository::from_full(&format!("{host}/{path}")) {
                        Ok(repository) => full.push(repository),
                        Err(_) if line.means(path) => odd.push(path.as_str()),
                        Err(_) => {}
                    }
                }
                notes.extend(no_names(line, &host, "repository", &odd));
                full
            }
            (None, None) => Vec::new(),
        };
        let mut means = false;
        for repository in paths {
            let path = repository.path().to_owned();
            let of_line: Vec<String> = match line.tag() {
                Some(tag) => vec![tag.to_owned()],
                None if !line.means(&path) => continue,
                None => {
                    let key = repository.to_string();
                    if !tags.contains_key(&key) {
                        activity.set(format!("asking for the tags of {key}"));
                        let listed = match sources.tags(&repository, PAGE).await {
                            // It was deleted, or the catalog is behind: the others go on.
                            Ok(None) => {
                                notes.push(format!(
                                    "line {}: {key} is not at its registry",
                                    line.number
                                ));
                                Vec::new()
                            }
                            listed => listed_by(&key, "tags", listed)?,
                        };
                        tags.insert(key.clone(), listed);
                    }
                    tags.get(&key).cloned().unwrap_or_default()
                }
            };
            let odd = of_line.iter().map(String::as_str);
            let odd: Vec<&str> = odd
                .filter(|tag| line.no_name(&path, tag).is_some())
                .collect();
            notes.extend(no_names(line, repository.as_str(), "tag", &odd));
            for name in of_line.iter().filter_map(|tag| line.name(&path, tag)) {
                let signed = format!("{}:{}", name.pulled_as, name.tag);
                if let Some(other) = names.get(&signed).filter(|other| **other != name) {
                    return Err(PublishError::wrong(
                        format!(
                            "line {}: {signed} would be {} and {}",
                            line.number, other.repository, name.repository
                        ),
                        "let one name be of one publisher's image",
                    ));
                }
                means = true;
                names.insert(signed, name);
                if names.len() > MOST {
                    return Err(PublishError::wrong(
                        format!("the list means more than {MOST} names"),
                        "write narrower patterns",
                    ));
                }
            }
        }
        // What is said of the line already says why.
        if !means && notes.len() == notes_before {
            notes.push(format!(
                "line {}: the registry lists no such name",
                line.number
            ));
        }
    }
    Ok((names, notes))
}

/// A note of what a registry lists and what can be no name; its text may be anything.
fn no_names(line: &UpstreamLine, whose: &str, what: &str, odd: &[&str]) -> Option<String> {
    let first: String = odd.first()?.chars().take(MAX_SHOWN).collect();
    Some(format!(
        "left out: line {}: {whose} lists {} with a name that is none, the first: {first:?}",
        line.number,
        counted(odd.len(), what)
    ))
}

fn listed_by(
    whose: &str,
    what: &str,
    listed: Result<Option<Vec<String>>, SourceError>,
) -> Result<Vec<String>, PublishError> {
    match listed {
        Ok(Some(listed)) => Ok(listed),
        Ok(None) => Err(PublishError::wrong(
            format!("{whose} lists no {what}"),
            "check the name, or write each one on a line of its own",
        )),
        Err(error) => Err(PublishError::wrong(
            format!("{whose}: {error}"),
            format!(
                "check the network, or name a registry that lists its {what}; Docker Hub lists no repositories: write each one on a line of its own"
            ),
        )),
    }
}

/// All names that are signed here.
fn signed(metadata: &Metadata) -> BTreeMap<String, Signed> {
    let documents = metadata
        .roles
        .keys()
        .filter_map(|role| metadata.newest(role)?.document.members("targets"));
    let paths: BTreeSet<&String> = documents.flat_map(serde_json::Map::keys).collect();
    let entry = |path: &String| {
        let role = delegation_path::deciding_role(metadata, path)?;
        let value = metadata
            .newest(&role)?
            .document
            .members("targets")?
            .get(path)?;
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let signed = Signed {
            digest: text("/hashes/sha256").map(|hex| format!("sha256:{hex}")),
            source: text("/custom/rootpin/source/name"),
        };
        Some((path.clone(), signed))
    };
    paths.into_iter().filter_map(entry).collect()
}

/// What was endorsed by these lines and is no longer among the names that they mean: gone at its
/// publisher, or meant under another name by now.
fn gone(lines: &[UpstreamLine], names: &Names, signed: &BTreeMap<String, Signed>) -> Vec<String> {
    let listed: BTreeSet<String> = names.values().map(upstream_name).collect();
    let is_meant = |source: &str| {
        let image: Option<ImageRef> = source.parse().ok();
        image.is_some_and(|image| {
            let tag = image.tag.as_ref().map_or("", |tag| tag.as_str());
            lines.iter().any(|line| {
                let name = line.name(image.repository.path(), tag);
                name.is_some_and(|name| name.repository == image.repository)
            })
        })
    };
    let left = signed.iter().filter(|(path, _)| !names.contains_key(*path));
    let note = |(path, signed): (&String, &Signed)| {
        let source = signed.source.as_deref()?;
        if listed.contains(source) {
            return Some(format!(
                "stays: {path} is signed as an endorsement of {source}, which the list means under another name"
            ));
        }
        is_meant(source).then(|| {
            format!(
                "gone: {path} is no longer at its publisher, and stays: rootpin repo revoke {path}"
            )
        })
    };
    left.filter_map(note).collect()
}

/// What is said of a name that was revoked here by hand.
fn stays_out(path: &str, names: &Names) -> String {
    let from = names.get(path).map(upstream_name).unwrap_or_default();
    let from = if from == path {
        String::new()
    } else {
        format!(" --from {from}")
    };
    format!(
        "stays out: {path} was revoked here by hand: rootpin repo endorse {path}{from} signs it again"
    )
}

fn upstream_name(name: &UpstreamName) -> String {
    format!("{}:{}", name.repository, name.tag)
}

/// Asks of each name what it is now, a few at a time. An answer that is missing ends it: nothing is
/// signed of half a list.
async fn ask_all(
    sources: &Arc<Sources>,
    names: &Names,
    (signed, taken_out): (&BTreeMap<String, Signed>, &BTreeSet<&str>),
    update: bool,
    activity: &Activity,
) -> Result<BTreeMap<String, Upstream>, PublishError> {
    let mut found = BTreeMap::new();
    let mut left = names.iter();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < AT_ONCE
            && let Some((path, name)) = left.next()
        {
            let here = signed.get(path);
            let from = upstream_name(name);
            if here.is_some_and(|here| here.source.as_deref() != Some(&from)) {
                let why = "it is signed here, and not as an endorsement of that name";
                found.insert(path.clone(), Upstream::Without(why.to_owned()));
                continue;
            }
            if here.is_none() && taken_out.contains(path.as_str()) {
                found.insert(path.clone(), Upstream::TakenOut);
                continue;
            }
            let (sources, path, name) = (Arc::clone(sources), path.clone(), name.clone());
            let digest = here.and_then(|here| here.digest.clone());
            under_way.spawn(async move {
                let upstream = look(&sources, &name, digest.as_deref(), update).await;
                (path, upstream)
            });
        }
        activity.set(format!(
            "asked for {} of {}",
            found.len(),
            counted(names.len(), "name")
        ));
        let Some(ended) = under_way.join_next().await else {
            return Ok(found);
        };
        let (path, upstream) =
            ended.map_err(|error| PublishError::State(error.to_string().into()))?;
        let upstream = upstream.map_err(|refusal| {
            PublishError::Wrong(Problem::hinted(
                format!("{path}: {}; nothing is signed", refusal.found),
                refusal.hint.clone(),
            ))
        })?;
        found.insert(path, upstream);
    }
}

/// What one name is now. A HEAD request says whether it moved: publishers count the others.
async fn look(
    sources: &Sources,
    name: &UpstreamName,
    signed: Option<&str>,
    update: bool,
) -> Result<Upstream, Refusal> {
    let of = |repository: &Repository, digest| ImageRef {
        repository: repository.clone(),
        tag: Some(name.tag.clone()),
        digest,
    };
    let unanswered =
        |refusal: &Refusal| matches!(refusal.code, Code::SourceUnreachable | Code::SourceDenied);
    let upstream = of(&name.repository, None);
    if let Some(signed) = signed {
        match sources.resolve(&upstream, Instant::now() + DEADLINE).await {
            Ok(now) if now.to_string() == signed => return Ok(Upstream::Unchanged),
            Ok(now) if !update => return Ok(Upstream::Moved(now)),
            Ok(_) => {}
            Err(refusal) if unanswered(&refusal) => return Err(refusal),
            Err(refusal) => return Ok(Upstream::Without(refusal.found.clone())),
        }
    }
    let described = match sources.describe(&upstream, Instant::now() + DEADLINE).await {
        Ok(described) => described,
        Err(refusal) if unanswered(&refusal) => return Err(refusal),
        Err(refusal) => return Ok(Upstream::Without(refusal.found.clone())),
    };
    if name.pulled_as != name.repository {
        let mirrored = of(&name.pulled_as, Some(described.digest));
        match sources.describe(&mirrored, Instant::now() + DEADLINE).await {
            Ok(_) => {}
            Err(refusal) if unanswered(&refusal) => return Err(refusal),
            Err(_) => {
                return Ok(Upstream::Without(format!(
                    "{} is not there yet: copy it, as skopeo copy --all docker://{}@{} docker://{}:{}",
                    described.digest, name.repository, described.digest, name.pulled_as, name.tag
                )));
            }
        }
    }
    Ok(Upstream::New(Box::new(described)))
}
