//! What containerd's image verifier runs for each pull.

fn main() -> std::process::ExitCode {
    rootpin::hooks::image_verifier::main().into()
}
