//! Asks the resolver for a tag, as an engine does that found it by `hosts.toml`.

use std::net::SocketAddr;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use super::Offer;

/// An error of a registry is a few lines.
const MAX_BODY: usize = 64 << 10;

/// Whether the tag stands for the image there; or why not, in its words.
pub(super) async fn resolve(at: SocketAddr, offer: &Offer) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| format!("the resolver at {at}: {error}");
    let stream = tokio::net::TcpStream::connect(at)
        .await
        .map_err(|error| said(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| said(&error))?;
    let connection = tokio::spawn(connection);
    let repository = &offer.name.repository;
    let path = format!(
        "/v2/{}/manifests/{}?ns={}",
        repository.path(),
        offer.canary.tag(),
        repository.host()
    );
    let request = Request::get(path)
        .header(header::HOST, at.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| said(&error))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| said(&error))?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = Limited::new(answer.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(|error| said(&error))?
        .to_bytes();
    connection.abort();
    if status != StatusCode::OK {
        return Err(format!(
            "answered {status}: {}",
            String::from_utf8_lossy(&body).trim()
        ));
    }
    let digest = headers
        .get("docker-content-digest")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let wanted = offer.image.digest().to_string();
    if digest == wanted {
        Ok(())
    } else {
        Err(format!("answered with {digest:?} in place of {wanted}"))
    }
}
