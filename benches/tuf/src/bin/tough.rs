//! tough as a client: `tough ROOT URL CACHE TARGET` prints the target's SHA-256.

use std::env::args;
use std::fs;

use tough::{Limits, RepositoryLoader, TargetName};
use url::Url;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [root, url, cache, target] = args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "ROOT URL CACHE TARGET")?;
    let root = fs::read(root)?;
    let url: Url = url.parse()?;
    fs::create_dir_all(&cache)?;
    let limits = Limits { max_targets_size: 32 << 20, ..Limits::default() };
    let repository = RepositoryLoader::new(&root, url.clone(), url).datastore(cache).limits(limits).load().await?;
    let name = TargetName::new(target)?;
    let found = repository.targets().signed.find_target(&name, false)?;
    println!("{}", found.hashes.sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    Ok(())
}
