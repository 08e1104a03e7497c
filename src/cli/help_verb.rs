//! Reads `rootpin help VERB`, which lists all options of a verb.

use std::ffi::OsString;

/// The words of `rootpin help VERB` as those of `rootpin VERB --help`; other words as they are.
pub(super) fn help_as_option(command: &clap::Command, words: Vec<OsString>) -> Vec<OsString> {
    let mut at = command;
    for (place, word) in words.iter().enumerate() {
        let rest = words.get(place + 1..).unwrap_or_default();
        if word == "help" && at.has_subcommands() && !rest.contains(word) {
            let verb = words.iter().take(place).chain(rest).cloned();
            return verb.chain([OsString::from("--help")]).collect();
        }
        let is_option = word.as_encoded_bytes().starts_with(b"-");
        match at.find_subcommand(word) {
            Some(below) => at = below,
            None if is_option => {}
            None => break,
        }
    }
    words
}
