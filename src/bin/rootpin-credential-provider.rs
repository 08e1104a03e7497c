//! The program that the kubelet runs for the credentials of an image.

fn main() -> std::process::ExitCode {
    rootpin::doors::credential_provider::main().into()
}
