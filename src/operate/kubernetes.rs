//! What pods of the Helm chart ask of their cluster's API server: to remove a startup taint, whether
//! a `DaemonSet` is ready on every node, and to remove it with its Job.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Certificate, Method, Response, Url, redirect};
use serde_json::{Value, json};

use crate::observe::plain;
use crate::problem::Problem;

/// Where the kubelet mounts a pod's token and the cluster's CA.
pub const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// etcd takes no object larger than 1.5 MiB.
const MAX_BODY: usize = 2 << 20;
/// A token is a few kilobytes, a bundle of CAs some tens.
const MAX_FILE: u64 = 1 << 20;
/// Others write to the same node: how often it is read again.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(2);

/// The API server, as a pod finds it.
#[derive(Debug)]
pub struct ApiServer {
    client: reqwest::Client,
    base: Url,
    /// Read for each question, because the kubelet renews it.
    token: PathBuf,
}

impl ApiServer {
    /// The server at that host and port, as `KUBERNETES_SERVICE_HOST` and `_PORT` name it, with the
    /// token and the CA of that folder. No other CA counts, and no proxy is asked.
    ///
    /// # Errors
    /// Where the address is none, or the CA can't be used.
    pub fn new(host: &str, port: &str, account: &Path) -> Result<Self, Problem> {
        let shown = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => format!("https://[{host}]:{port}/"),
            _ => format!("https://{host}:{port}/"),
        };
        let base = Url::parse(&shown).map_err(|error| {
            Problem::new(format!("the API server's address {}: {error}", plain(host)))
        })?;
        let file = account.join("ca.crt");
        let of_ca =
            |error: &dyn std::fmt::Display| Problem::new(format!("{}: {error}", file.display()));
        let pem = small(&file)?;
        let certificates =
            Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| of_ca(&error))?;
        let client = reqwest::Client::builder()
            .user_agent(concat!("rootpin/", env!("CARGO_PKG_VERSION")))
            .tls_certs_only(certificates)
            .https_only(true)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| of_ca(&error))?;
        Ok(Self {
            client,
            base,
            token: account.join("token"),
        })
    }

    /// Removes the taints of that key from a node; how many there were. Each is compared with what
    /// was read by the same patch, so that no other taint goes when somebody else changes the list.
    ///
    /// # Errors
    /// Where the server does not answer, or refuses.
    pub async fn untaint(&self, node: &str, key: &str) -> Result<usize, Problem> {
        let path = ["api", "v1", "nodes", name(node)?];
        let mut refused = Problem::new(String::new());
        for _ in 0..TRIES {
            let found = self.get(&path).await?;
            let changes = removals(&found, key);
            if changes.is_empty() {
                return Ok(0);
            }
            let body = Value::Array(changes.clone()).to_string();
            let response = self.send(Method::PATCH, &path, Some(body)).await?;
            match response.status().as_u16() {
                200 => return Ok(changes.len() / 2),
                // The list is not any more what was read.
                409 | 422 => refused = self.failed(Method::PATCH, &path, response).await,
                _ => return Err(self.failed(Method::PATCH, &path, response).await),
            }
        }
        Err(refused)
    }

    /// Waits until a `DaemonSet`'s pods are ready on all nodes that it wants; `false`, if they are not
    /// by then. The second value is the last that was seen: ready and wanted pods.
    ///
    /// # Errors
    /// Where the server refuses. Where it does not answer, it is asked again until then.
    pub async fn wait(
        &self,
        namespace: &str,
        daemonset: &str,
        until: Instant,
    ) -> Result<(bool, (u64, u64)), Problem> {
        let path = daemonset_path(namespace, daemonset)?;
        loop {
            let found = match self.get(&path).await {
                Ok(found) => found,
                Err(why) if Instant::now() >= until => return Err(why),
                Err(_) => Value::Null,
            };
            let (done, seen) = progress(&found);
            if done || Instant::now() >= until {
                return Ok((done, seen));
            }
            tokio::time::sleep(BETWEEN.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// Makes a `DaemonSet` the Job's own, so that the cluster's garbage collector removes it after the
    /// Job.
    ///
    /// # Errors
    /// Where the server does not answer, or refuses.
    pub async fn adopt(
        &self,
        namespace: &str,
        daemonset: &str,
        (job, uid): (&str, &str),
    ) -> Result<(), Problem> {
        let path = daemonset_path(namespace, daemonset)?;
        let owner =
            json!({ "apiVersion": "batch/v1", "kind": "Job", "name": name(job)?, "uid": uid });
        let change =
            json!([{ "op": "add", "path": "/metadata/ownerReferences", "value": [owner] }]);
        let response = self
            .send(Method::PATCH, &path, Some(change.to_string()))
            .await?;
        match response.status().as_u16() {
            200 => Ok(()),
            _ => Err(self.failed(Method::PATCH, &path, response).await),
        }
    }

    async fn get(&self, path: &[&str]) -> Result<Value, Problem> {
        let response = self.send(Method::GET, path, None).await?;
        if response.status().as_u16() != 200 {
            return Err(self.failed(Method::GET, path, response).await);
        }
        let bytes = body(response).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(format!("{}: not an object: {error}", path.join("/"))))
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        changes: Option<String>,
    ) -> Result<Response, Problem> {
        let mut url = self.base.clone();
        url.set_path(&path.join("/"));
        let mut request = self
            .client
            .request(method, url)
            .bearer_auth(small(&self.token)?.trim());
        if let Some(changes) = changes {
            request = request
                .header(CONTENT_TYPE, "application/json-patch+json")
                .body(changes);
        }
        request.send().await.map_err(|error| {
            let mut why: &dyn std::error::Error = &error;
            while let Some(cause) = why.source() {
                why = cause;
            }
            Problem::new(format!("{}: {}", self.base, plain(&why.to_string())))
        })
    }

    /// What the server said in place of an answer.
    async fn failed(&self, method: Method, path: &[&str], response: Response) -> Problem {
        let status = response.status().as_u16();
        let bytes = body(response).await.unwrap_or_default();
        let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let said = said.get("message").and_then(Value::as_str).unwrap_or("");
        let what = format!(
            "{method} {}{}: {status} {}",
            self.base,
            path.join("/"),
            plain(said)
        );
        match status {
            401 => Problem::hinted(
                what,
                "the pod's token is not taken: kubectl get serviceaccount",
            ),
            403 => Problem::hinted(
                what,
                "the account lacks the right: kubectl get clusterrole,validatingadmissionpolicy -l app.kubernetes.io/name=rootpin",
            ),
            404 => Problem::hinted(
                what,
                "kubectl get nodes, or kubectl get daemonsets -A, shows the names",
            ),
            _ => Problem::new(what),
        }
    }
}

fn daemonset_path<'a>(namespace: &'a str, daemonset: &'a str) -> Result<[&'a str; 7], Problem> {
    let (namespace, daemonset) = (name(namespace)?, name(daemonset)?);
    Ok([
        "apis",
        "apps",
        "v1",
        "namespaces",
        namespace,
        "daemonsets",
        daemonset,
    ])
}

/// A patch (RFC 6902) that removes each taint of that key, the last first, if it is still there.
fn removals(node: &Value, key: &str) -> Vec<Value> {
    let taints = node.pointer("/spec/taints").and_then(Value::as_array);
    let ours = taints
        .into_iter()
        .flatten()
        .enumerate()
        .filter(|(_, taint)| taint.get("key").and_then(Value::as_str) == Some(key));
    let mut changes = Vec::new();
    for (index, taint) in ours {
        let path = format!("/spec/taints/{index}");
        changes.insert(0, json!({ "op": "remove", "path": path }));
        changes.insert(0, json!({ "op": "test", "path": path, "value": taint }));
    }
    changes
}

/// Whether the status is of the newest specification and every pod is ready; ready and wanted pods.
fn progress(daemonset: &Value) -> (bool, (u64, u64)) {
    let number = |pointer| daemonset.pointer(pointer).and_then(Value::as_u64);
    let wanted = number("/status/desiredNumberScheduled");
    let ready = number("/status/numberReady").unwrap_or(0);
    let current = number("/metadata/generation").is_some()
        && number("/metadata/generation") <= number("/status/observedGeneration");
    let done = current && wanted.is_some_and(|wanted| ready >= wanted);
    (done, (ready, wanted.unwrap_or(0)))
}

/// The name of an object (RFC 1123), which becomes a part of a path.
fn name(name: &str) -> Result<&str, Problem> {
    let plain_sign = |sign: char| {
        sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '-' || sign == '.'
    };
    let edge = |sign: Option<char>| sign.is_some_and(|sign| sign.is_ascii_alphanumeric());
    let valid = name.len() <= 253
        && name.chars().all(plain_sign)
        && edge(name.chars().next())
        && edge(name.chars().last());
    if valid {
        Ok(name)
    } else {
        Err(Problem::new(format!(
            "{:?} is not the name of an object of Kubernetes",
            plain(name)
        )))
    }
}

fn small(path: &Path) -> Result<String, Problem> {
    let failed = |why: &dyn std::fmt::Display| {
        Problem::hinted(
            format!("{}: {why}", path.display()),
            "this is for pods that mount the token of their account there",
        )
    };
    let file = fs::File::open(path).map_err(|error| failed(&error))?;
    let mut text = String::new();
    let mut capped = std::io::Read::take(file, MAX_FILE);
    std::io::Read::read_to_string(&mut capped, &mut text).map_err(|error| failed(&error))?;
    Ok(text)
}

async fn body(mut response: Response) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    loop {
        let part = response
            .chunk()
            .await
            .map_err(|error| Problem::new(format!("the API server's answer: {error}")))?;
        let Some(part) = part else {
            return Ok(bytes);
        };
        if bytes.len().saturating_add(part.len()) > MAX_BODY {
            return Err(Problem::new(format!(
                "the API server's answer is longer than {MAX_BODY} bytes"
            )));
        }
        bytes.extend_from_slice(&part);
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a broken test should stop at once")]
mod tests {
    use super::*;

    #[test]
    fn only_taints_of_the_key_are_removed_the_last_first_and_each_is_compared() {
        let node = json!({ "spec": { "taints": [
            { "key": "a/b", "effect": "NoSchedule" },
            { "key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule" },
            { "key": "a/b", "effect": "NoExecute", "value": "x" },
        ] } });
        assert_eq!(
            Value::Array(removals(&node, "a/b")),
            json!([
                { "op": "test", "path": "/spec/taints/2", "value": { "key": "a/b", "effect": "NoExecute", "value": "x" } },
                { "op": "remove", "path": "/spec/taints/2" },
                { "op": "test", "path": "/spec/taints/0", "value": { "key": "a/b", "effect": "NoSchedule" } },
                { "op": "remove", "path": "/spec/taints/0" },
            ])
        );
        for empty in [json!({}), json!({ "spec": { "taints": "a/b" } }), json!([])] {
            assert!(removals(&empty, "a/b").is_empty(), "{empty}");
        }
    }

    #[test]
    fn a_daemonset_is_done_when_its_newest_specification_is_ready_on_every_node() {
        let of = |generation, observed, wanted, ready| {
            progress(&json!({ "metadata": { "generation": generation }, "status": {
                "observedGeneration": observed, "desiredNumberScheduled": wanted, "numberReady": ready } }))
            .0
        };
        assert!(of(1, 1, 3, 3));
        assert!(of(1, 1, 0, 0), "a cluster without a node for it");
        assert!(!of(1, 1, 3, 2));
        assert!(!of(2, 1, 3, 3), "the status is of the specification before");
        assert!(!progress(&json!({ "metadata": { "generation": 1 } })).0);
        assert!(!progress(&json!({ "status": { "desiredNumberScheduled": 0 } })).0);
        assert!(!progress(&Value::Null).0);
    }

    #[test]
    fn a_name_that_would_lead_elsewhere_is_none() {
        for good in ["node-1", "ip-10-0-0-1.eu-west-1.compute.internal", "a"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in [
            "", "..", "a/b", "a?b", "../pods", "A", "-a", "a.", "a%2fb", "é",
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
