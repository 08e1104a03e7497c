//! STAND-IN until h/keys.
use std::path::PathBuf;

/// where from
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Passphrases {
    /// A file whose first line is the passphrase of every key
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Passphrases {
    pub(super) fn of(&self, name: &str) -> Result<String, String> {
        match &self.passphrase_file {
            Some(file) => std::fs::read_to_string(file).map(|text| text.trim_end().to_owned()).map_err(|error| error.to_string()),
            None => std::env::var("ROOTPIN_PASSPHRASE").map_err(|_| format!("no passphrase for {name}")),
        }
    }
}
