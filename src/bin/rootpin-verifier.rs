//! The program that containerd's image verifier runs for each pull.

fn main() -> std::process::ExitCode {
    rootpin::doors::verifier::main().into()
}
