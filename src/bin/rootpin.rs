//! The command line.

fn main() -> std::process::ExitCode {
    rootpin::cli::main().into()
}
