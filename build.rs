//! Generates the server side of containerd's Diff service (its messages are containerd-client's
//! own, so that a request can be passed on without a conversion), both sides of the control
//! service, and the messages of NRI and ttRPC.

#[allow(clippy::disallowed_macros, reason = "cargo reads standard output")]
fn main() -> std::io::Result<()> {
    // No host's clock can rightly be before this. A packager sets it
    // (reproducible-builds.org/specs/source-date-epoch).
    let now = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
            .to_string()
    };
    println!(
        "cargo:rustc-env=ROOTPIN_BUILT={}",
        std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| now())
    );
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".containerd.types", "::containerd_client::types")
        .extern_path(
            ".containerd.services.diff.v1",
            "::containerd_client::services::v1",
        )
        .compile_protos(
            &["proto/github.com/containerd/containerd/api/services/diff/v1/diff.proto"],
            &["proto"],
        )?;
    tonic_prost_build::configure().compile_protos(&["proto/control.proto"], &["proto"])?;
    tonic_prost_build::configure()
        .compile_protos(&["proto/nri.proto", "proto/ttrpc.proto"], &["proto"])
}
