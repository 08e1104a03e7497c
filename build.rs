//! Generates the server side of containerd's Diff service (its messages are containerd-client's own, so that a request can be passed
//! on without a conversion), both sides of the control service, and the messages of NRI and ttRPC.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".containerd.types", "::containerd_client::types")
        .extern_path(".containerd.services.diff.v1", "::containerd_client::services::v1")
        .compile_protos(&["proto/github.com/containerd/containerd/api/services/diff/v1/diff.proto"], &["proto"])?;
    tonic_prost_build::configure().compile_protos(&["proto/control.proto"], &["proto"])?;
    tonic_prost_build::configure().compile_protos(&["proto/nri.proto", "proto/ttrpc.proto"], &["proto"])
}
