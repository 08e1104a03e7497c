//! Writes the manual pages and the shells' completions of the two programs, made from the
//! definitions of their command lines. `packaging/package` runs it.
//!
//! ```text
//! cargo run --example manual -- DIR
//! DIR/man/{man1/rootpin.1, man1/rootpin-VERB.1 …, man8/rootpind.8}
//! DIR/completions/{bash, zsh, fish}
//! ```

use std::fs;
use std::io::{self, Error};
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> io::Result<()> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = dir.ok_or_else(|| Error::other("wanted the folder to write to"))?;
    let programs = [
        (rootpin::cli::command(), "1"),
        (rootpin::cli::daemon_command(), "8"),
    ];
    for (command, section) in programs {
        completions(&command, &dir.join("completions"))?;
        let pages = dir.join("man").join(format!("man{section}"));
        fs::create_dir_all(&pages)?;
        let mut command = command.disable_help_subcommand(true);
        command.build();
        page(&command, section, &pages)?;
    }
    Ok(())
}

/// One page for the command, and one for each verb below it.
fn page(command: &Command, section: &str, dir: &Path) -> io::Result<()> {
    for verb in command.get_subcommands() {
        page(verb, section, dir)?;
    }
    let man = Man::new(command.clone())
        .section(section)
        .manual("rootpin")
        .source(concat!("rootpin ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    man.render(&mut text)?;
    let text = String::from_utf8(text).map_err(Error::other)?;
    // clap_mangen's heading for what follows the options: here it is examples and exit codes.
    let text = text.replace("\n.SH EXTRA\n", "\n.SH EXAMPLES\n");
    fs::write(dir.join(man.get_filename()), text)
}

fn completions(command: &Command, dir: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let of_shell = dir.join(shell.to_string());
        fs::create_dir_all(&of_shell)?;
        let mut command = command.clone();
        let name = command.get_name().to_owned();
        clap_complete::generate_to(shell, &mut command, name, of_shell)?;
    }
    Ok(())
}
