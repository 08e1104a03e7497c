//! The program that Docker's clients run for the credentials of a registry.

fn main() -> std::process::ExitCode {
    rootpin::doors::credential_helper::main().into()
}
