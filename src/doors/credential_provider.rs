//! The kubelet's credential provider that stands before all others: a `CredentialProviderRequest`
//! on standard input, a `CredentialProviderResponse` on standard output (KEP 2133,
//! credentialprovider.kubelet.k8s.io v1, v1beta1 and v1alpha1).
//!
//! There is no judgement in it: it asks the daemon. Where the image is not admitted the answer is
//! empty, and whatever is odd is exit 1, which the kubelet takes for "no credentials" too.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::DEFAULT_CONTROL;
use crate::control::DaemonClient;
use crate::control::wire::{CredentialsRequest, CredentialsResponse};
use crate::credentials::{API_VERSIONS, forbid_core_dumps};
use crate::problem::Problem;

/// The kubelet gives a provider a minute.
const TIMEOUT: Duration = Duration::from_secs(45);
const MOST: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    api_version: String,
    kind: String,
    image: String,
    #[serde(default)]
    service_account_token: String,
}

/// Runs the provider. Returns the exit code.
#[must_use]
pub fn main() -> u8 {
    let is_safe = forbid_core_dumps().map_err(Problem::from);
    let answer = is_safe.and_then(|()| {
        let mut input = Vec::new();
        let read = std::io::stdin().take(MOST).read_to_end(&mut input);
        read.map_err(|error| format!("standard input: {error}"))?;
        run(std::env::args().skip(1), &input)
    });
    match answer {
        Ok((answer, why)) => {
            if !why.is_empty() {
                tell(&why);
            }
            u8::from(writeln!(std::io::stdout(), "{answer}").is_err())
        }
        Err(why) => {
            tell(&why.to_string());
            1
        }
    }
}

/// The answer, and why it is empty.
fn run(words: impl Iterator<Item = String>, input: &[u8]) -> Result<(Value, String), Problem> {
    let control = arguments(words)?;
    let asked = request(input)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let answer = runtime.block_on(ask(&control, &asked.image))?;
    let why = answer.reason.clone();
    Ok((response(&asked.api_version, answer), why))
}

async fn ask(control: &Path, image: &str) -> Result<CredentialsResponse, Problem> {
    let mut client = DaemonClient::connect(control, TIMEOUT).await?;
    client
        .credentials(CredentialsRequest {
            image: image.to_owned(),
            server: String::new(),
        })
        .await
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<PathBuf, String> {
    match (words.next().as_deref(), words.next(), words.next()) {
        (None, ..) => Ok(DEFAULT_CONTROL.into()),
        (Some("--control"), Some(control), None) => Ok(control.into()),
        _ => Err(
            "the kubelet runs this as a credential provider, with no argument but --control SOCKET: see docs/credentials.md"
                .to_owned(),
        ),
    }
}

fn request(input: &[u8]) -> Result<Asked, Problem> {
    // The parser's words may quote a service account's token.
    let asked: Asked = serde_json::from_slice(input)
        .map_err(|_| "standard input is no CredentialProviderRequest")?;
    if asked.kind != "CredentialProviderRequest"
        || !API_VERSIONS.contains(&asked.api_version.as_str())
    {
        return Err(Problem::new(format!(
            "standard input is {:?} of {:?}, wanted CredentialProviderRequest of {}",
            asked.kind,
            asked.api_version,
            API_VERSIONS.join(" or ")
        )));
    }
    if !asked.service_account_token.is_empty() {
        return Err(Problem::hinted(
            "no provider behind rootpin's is given the token of a pod's service account",
            "take tokenAttributes out of the kubelet's configuration of rootpin-credential-provider",
        ));
    }
    Ok(asked)
}

/// An empty answer is not to be kept: the image may be signed a moment later.
fn response(version: &str, answer: CredentialsResponse) -> Value {
    let pair = |(key, pair): (String, crate::control::wire::credentials_response::Pair)| {
        (
            key,
            json!({ "username": pair.username, "password": pair.password }),
        )
    };
    let auth: serde_json::Map<_, _> = answer.auth.into_iter().map(pair).collect();
    json!({
        "apiVersion": version,
        "kind": "CredentialProviderResponse",
        "cacheKeyType": "Image",
        "cacheDuration": format!("{}s", answer.seconds),
        "auth": auth,
    })
}

fn tell(why: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "rootpin-credential-provider: {}",
        crate::observe::plain(why)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::try_reader;

    #[test]
    fn only_the_versions_that_kubelets_speak_are_understood() {
        let of = |version: &str, kind: &str| {
            let text = json!({ "apiVersion": version, "kind": kind, "image": "r.example/x" });
            request(text.to_string().as_bytes()).map(|asked| asked.image)
        };
        for version in API_VERSIONS {
            assert_eq!(
                of(version, "CredentialProviderRequest").unwrap(),
                "r.example/x"
            );
        }
        assert!(
            of(
                "credentialprovider.kubelet.k8s.io/v2",
                "CredentialProviderRequest"
            )
            .is_err()
        );
        assert!(of(API_VERSIONS[0], "CredentialProviderResponse").is_err());
        let secret = request(br#"{"serviceAccountToken":"hunter2","kind":7}"#)
            .err()
            .unwrap();
        assert!(!secret.to_string().contains("hunter2"), "{secret}");
    }

    #[test]
    fn a_pod_s_token_is_refused_and_not_repeated_rather_than_left_out() {
        let asked = json!({
            "apiVersion": API_VERSIONS[0], "kind": "CredentialProviderRequest",
            "image": "r.example/x", "serviceAccountToken": "hunter2",
            "serviceAccountAnnotations": {"a": "b"},
        });
        let why = request(asked.to_string().as_bytes()).err().unwrap();
        assert!(
            why.to_string().contains("tokenAttributes") && !why.to_string().contains("hunter2"),
            "{why}"
        );
    }

    #[test]
    fn an_empty_answer_is_one_that_the_kubelet_does_not_keep() {
        let empty = response(API_VERSIONS[1], CredentialsResponse::default());
        assert_eq!(
            empty,
            json!({
                "apiVersion": API_VERSIONS[1], "kind": "CredentialProviderResponse",
                "cacheKeyType": "Image", "cacheDuration": "0s", "auth": {},
            })
        );
    }

    #[test]
    fn other_arguments_than_the_socket_are_refused() {
        let of = |words: &[&str]| arguments(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(of(&[]), Ok(DEFAULT_CONTROL.into()));
        assert_eq!(of(&["--control", "/x"]), Ok("/x".into()));
        assert!(of(&["get-credentials"]).is_err() && of(&["--control"]).is_err());
    }

    #[test]
    fn fuzz_no_request_of_the_kubelet_makes_the_provider_panic_or_take_a_token() {
        let example = br#"{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"r.example/x","serviceAccountToken":""}"#;
        assert!(request(example).is_ok());
        try_reader("provider-request", &[example], |bytes| {
            if let Ok(asked) = request(bytes) {
                assert!(asked.service_account_token.is_empty());
            }
        });
    }
}
