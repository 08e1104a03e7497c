//! Says which digest a TUF repository in a folder signs for an image's name, under a pinned root:
//!
//! ```text
//! cargo run -p rootpin-trust --example verify -- root.json METADATA-FOLDER registry.example/team/app:v1
//! ```

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use jiff::Timestamp;
use rootpin_trust::image::ImageRef;
use rootpin_trust::tuf::{PinnedRoot, Question, RootPins, Search, Update};
use rootpin_trust::{Answer, FetchFrom, Verification, Want};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [root, folder, name] = arguments.as_slice() else {
        return Err("usage: verify ROOT-FILE METADATA-FOLDER NAME:TAG".into());
    };
    let image: ImageRef = name.parse()?;
    let tag = image.tag.ok_or("the name has no tag")?;
    let pins = RootPins {
        id: "repository".to_owned(),
        root: Arc::new(PinnedRoot::read(fs::read(root)?)?),
        revoked: [].into(),
        floor: [].into(),
        max_age: None,
    };
    let now = Timestamp::now();
    let fetch = |want: &Want| read(Path::new(folder), want);

    // A client that looks more than once keeps the floors of `progress` and gives them back here.
    let trusted = Update::start(&pins, Vec::new(), None, now).run(fetch)?;
    let question = Question::Tag(tag.clone());
    let found = Search::start(&trusted, &image.repository, &question, now).run(fetch)?;
    let targets = &found.collection.get().targets;
    let target = targets.get(tag.as_str()).ok_or("the tag is not signed")?;
    writeln!(io::stdout(), "{} {} bytes", target.digest, target.length)?;
    Ok(())
}

fn read(folder: &Path, want: &Want) -> Result<Answer, Box<dyn Error>> {
    if want.from == FetchFrom::Cache {
        return Ok(Answer::Missing);
    }
    let path = folder.join(want.request.file_name());
    if !path.try_exists()? {
        return Ok(Answer::Missing);
    }
    let bytes = fs::read(&path)?;
    if bytes.len() > want.max_bytes {
        return Err(format!("{} is longer than {} bytes", path.display(), want.max_bytes).into());
    }
    Ok(Answer::Bytes(bytes))
}
