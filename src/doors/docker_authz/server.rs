//! HTTP on the plugin's socket: dockerd's plugin protocol (moby, `pkg/plugins` and
//! `pkg/authorization`).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;

use super::AuthzPlugin;
use crate::doors::socket;
use crate::sockets::KeptSocket;

/// dockerd shows bodies of up to 4 MiB, here in base64, and up to 1 MiB of headers.
const MAX_MESSAGE: usize = 8 << 20;
/// Beyond this a message is large, as a container with a long environment is.
const SMALL: u64 = 64 << 10;
/// So many large messages are held at once: they are all that could fill the memory.
const MOST_LARGE: usize = 8;
/// dockerd has no limit on calls at once. More than are judged at once must find a place, or those
/// could not ask dockerd.
const MAX_CONNECTIONS: usize = 4096;

/// Answers until told to stop, and then those that have asked.
pub(super) async fn serve(
    plugin: Arc<AuthzPlugin>,
    listener: KeptSocket,
    stop: impl Future<Output = ()>,
) {
    let connections = socket::connections_at_most(MAX_CONNECTIONS, listener);
    let mut connections = std::pin::pin!(connections);
    let mut stop = std::pin::pin!(stop);
    let (stopping, stopped) = watch::channel(false);
    let mut served = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = served.join_next(), if !served.is_empty() => {}
            connection = connections.next() => {
                let Some(Ok(connection)) = connection else { continue };
                served.spawn(serve_one(Arc::clone(&plugin), connection, stopped.clone()));
            }
        }
    }
    let _ = stopping.send(true);
    while served.join_next().await.is_some() {}
}

async fn serve_one(
    plugin: Arc<AuthzPlugin>,
    connection: socket::Connection,
    mut stopped: watch::Receiver<bool>,
) {
    let asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        answer(Arc::clone(&plugin), request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(connection), service);
    let mut connection = std::pin::pin!(connection);
    let stopped = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped => {
            let asked = asked.load(Ordering::Relaxed);
            socket::ended_after_stop(connection, asked, hyper::server::conn::http1::Connection::graceful_shutdown).await
        }
    };
    if let Err(error) = ended {
        log::debug!("a connection of dockerd's ended: {error}");
    }
}

async fn answer(
    plugin: Arc<AuthzPlugin>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    Ok(match (method, path.as_str()) {
        (Method::POST, "/Plugin.Activate") => {
            told(StatusCode::OK, &json!({ "Implements": ["authz"] }))
        }
        (Method::POST, "/AuthZPlugin.AuthZReq") => {
            let decided = decided(plugin, request.into_body()).await;
            told(
                StatusCode::OK,
                &json!({ "Allow": decided.is_ok(), "Msg": decided.err().unwrap_or_default() }),
            )
        }
        // What was allowed is done; its answer is dockerd's. Read to its end all the same, or
        // dockerd could not send it.
        (Method::POST, "/AuthZPlugin.AuthZRes") => {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            told(StatusCode::OK, &json!({ "Allow": true }))
        }
        _ => told(
            StatusCode::NOT_FOUND,
            &json!({ "Err": "rootpin: no such call; this is an authorization plugin of dockerd" }),
        ),
    })
}

/// The whole body, if it is not too long. One that is too long is read to its end all the same, or
/// dockerd could be told nothing of why.
async fn message(mut body: Incoming) -> Result<Bytes, String> {
    let (mut message, mut is_too_long) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let data = frame.into_data().unwrap_or_default();
        is_too_long |= message.len() + data.len() > MAX_MESSAGE;
        if is_too_long {
            message = Vec::new();
        } else {
            message.extend_from_slice(&data);
        }
    }
    if is_too_long {
        return Err(format!("it has more than {MAX_MESSAGE} bytes"));
    }
    Ok(message.into())
}

async fn decided(plugin: Arc<AuthzPlugin>, body: Incoming) -> Result<(), String> {
    static LARGE: Semaphore = Semaphore::const_new(MOST_LARGE);
    let is_large = body.size_hint().upper().is_none_or(|length| length > SMALL);
    let reading = async {
        let place = if is_large {
            Some(LARGE.acquire().await.map_err(|error| error.to_string())?)
        } else {
            None
        };
        Ok::<_, String>((message(body).await?, place))
    };
    match tokio::time::timeout(plugin.deadline(), reading).await {
        Ok(Ok((message, _place))) => plugin.decide(message).await,
        Ok(Err(why)) => plugin.unread(&why).await,
        Err(_) => plugin.unread("it took too long").await,
    }
}

fn told(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/vnd.docker.plugins.v1.2+json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    response
}
