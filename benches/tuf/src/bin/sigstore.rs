//! sigstore-tuf as a client: `sigstore ROOT URL CACHE TARGET` prints the target's SHA-256.

use std::env::args;
use std::fs;

use jiff::Timestamp;
use sigstore_tuf::cache::FileStore;
use sigstore_tuf::client::{HttpRepository, Updater};
use sigstore_tuf::transport::UpdaterConfig;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [root, url, cache, target] = args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "ROOT URL CACHE TARGET")?;
    let mut config = UpdaterConfig::default();
    config.targets_max_length = 32 << 20;
    let mut updater = Updater::new(HttpRepository::new(&url)?, &fs::read(root)?)?.with_config(config).with_store(FileStore::new(cache));
    let now = Timestamp::now();
    updater.refresh(now).await?;
    let found = updater.get_target_info(&target, now).await?.ok_or("no such target")?;
    println!("{}", found.hashes.get("sha256").ok_or("no sha256")?);
    Ok(())
}
