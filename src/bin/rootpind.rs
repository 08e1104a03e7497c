//! The daemon.

fn main() -> std::process::ExitCode {
    rootpin::cli::daemon_main().into()
}
