//! `rootpin kubernetes`: what the pods of the Helm chart ask their API server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::output::{Output, counted};
use crate::operate::kubernetes::{ACCOUNT, ApiServer};
use crate::problem::Problem;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Remove a startup taint from a node
    #[command(
        after_help = "example: rootpin kubernetes untaint NODE --taint rootpin/not-ready\n\n\
        exit codes: 0 it is gone, or was not there, 2 the API server refused, or could not be asked"
    )]
    Untaint {
        /// The node's name
        node: String,
        /// The taint's key; all taints of that key are removed, whatever their value and effect
        #[arg(long, value_name = "KEY")]
        taint: String,
        #[command(flatten)]
        server: ServerArguments,
    },
    /// Wait until a `DaemonSet`'s pods are ready on every node
    #[command(
        after_help = "example: rootpin kubernetes wait rootpin-cleanup --namespace kube-system\n\n\
        exit codes: 0 they are, 1 not in time, 2 the API server refused, or could not be asked"
    )]
    Wait {
        /// The `DaemonSet`'s name
        daemonset: String,
        /// Its namespace
        #[arg(long)]
        namespace: String,
        /// How long to wait
        #[arg(long, value_name = "TIME", default_value = "600s", value_parser = seconds)]
        timeout: Duration,
        /// Make it this Job's own, so that it is removed with the Job
        #[arg(long, value_name = "JOB", requires = "owner_uid")]
        owner: Option<String>,
        /// The Job's UID
        #[arg(long, value_name = "UID", requires = "owner")]
        owner_uid: Option<String>,
        #[command(flatten)]
        server: ServerArguments,
    },
}

/// The API server, as a pod finds it.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArguments {
    /// The API server's host [default: $`KUBERNETES_SERVICE_HOST`]
    #[arg(long, value_name = "HOST")]
    server: Option<String>,
    /// The API server's port [default: $`KUBERNETES_SERVICE_PORT`]
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// The folder of the pod's token and the cluster's ca.crt
    #[arg(long, value_name = "DIR", default_value = ACCOUNT)]
    account: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').and_then(|text| text.parse().ok());
    number
        .map(Duration::from_secs)
        .ok_or_else(|| "wanted seconds, as 600s".to_owned())
}

impl ServerArguments {
    fn api(&self) -> Result<ApiServer, Problem> {
        let given = |given: &Option<String>, name: &str| {
            given
                .clone()
                .or_else(|| std::env::var(name).ok())
                .ok_or_else(|| {
                    Problem::hinted(
                        format!("{name} is not set"),
                        "this runs in a pod; elsewhere: kubectl taint nodes NODE KEY-",
                    )
                })
        };
        ApiServer::new(
            &given(&self.server, "KUBERNETES_SERVICE_HOST")?,
            &given(&self.port, "KUBERNETES_SERVICE_PORT")?,
            &self.account,
        )
    }
}

pub(super) fn run(verb: &Verb, output: Output) -> Result<u8, Problem> {
    match verb {
        Verb::Untaint {
            node,
            taint,
            server,
        } => {
            let api = server.api()?;
            let removed = super::block_on(api.untaint(node, taint))?;
            let value = json!({ "version": 1, "node": node, "taint": taint, "removed": removed });
            output.value(&value, |_| match removed {
                0 => format!("{node} has no taint {taint}"),
                many => format!("removed from {node}: {} {taint}", counted(many, "taint")),
            });
            Ok(0)
        }
        Verb::Wait {
            daemonset,
            namespace,
            timeout,
            owner,
            owner_uid,
            server,
        } => {
            let api = server.api()?;
            if let (Some(job), Some(uid)) = (owner, owner_uid) {
                super::block_on(api.adopt(namespace, daemonset, (job, uid)))?;
            }
            let until = Instant::now() + *timeout;
            let (done, (ready, wanted)) = super::block_on(api.wait(namespace, daemonset, until))?;
            let value = json!({ "version": 1, "daemonset": daemonset, "done": done, "ready": ready, "wanted": wanted });
            output.value(&value, |_| {
                format!("{namespace}/{daemonset}: ready on {ready} of {wanted} nodes")
            });
            Ok(u8::from(!done))
        }
    }
}
