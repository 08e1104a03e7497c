//! What a trust server shows, from memory: good or hostile trees, and silence.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse as _;
use tokio::runtime::Runtime;

use crate::publisher::Tree;

type Files = Arc<Mutex<Option<BTreeMap<String, Vec<u8>>>>>;

/// Listens on loopback until it is dropped.
pub(crate) struct TrustServer {
    pub(crate) url: String,
    files: Files,
    asked: Receiver<()>,
    runtime: Option<Runtime>,
}

impl TrustServer {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = Files::default();
        let (tell, asked) = channel();
        let shared = Arc::clone(&files);
        let router = Router::new().fallback(move |uri: Uri| {
            let _ = tell.send(());
            let shared = Arc::clone(&shared);
            async move {
                let answer = shared
                    .lock()
                    .unwrap()
                    .as_ref()
                    .map(|files| files.get(&uri.path().replace("%3A", ":")).cloned());
                match answer {
                    Some(Some(bytes)) => bytes.into_response(),
                    Some(None) => StatusCode::NOT_FOUND.into_response(),
                    None => std::future::pending().await,
                }
            }
        });
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            files,
            asked,
            runtime: Some(runtime),
        }
    }

    /// Serves this tree for this repository, and nothing else.
    pub(crate) fn serve(&self, gun: &str, tree: Tree) {
        let files = tree
            .files
            .into_iter()
            .map(|(name, bytes)| (format!("/v2/{gun}/_trust/tuf/{name}"), bytes))
            .collect();
        *self.files.lock().unwrap() = Some(files);
    }

    /// Serves these files at the top, and nothing else.
    pub(crate) fn serve_files(&self, files: &BTreeMap<String, Vec<u8>>) {
        *self.files.lock().unwrap() = Some(
            files
                .iter()
                .map(|(name, bytes)| (format!("/{name}"), bytes.clone()))
                .collect(),
        );
    }

    /// From now on accepts questions and answers none.
    pub(crate) fn hang(&self) {
        *self.files.lock().unwrap() = None;
        while self.asked.try_recv().is_ok() {}
    }

    /// Waits for a question.
    pub(crate) fn wait_until_asked(&self) {
        self.asked
            .recv_timeout(std::time::Duration::from_secs(10))
            .expect("nobody asked the trust server");
    }

    /// Waits for one more question, no longer than that: who asks for the same metadata at the same
    /// time waits in the daemon.
    pub(crate) fn may_be_asked_again(&self, within: std::time::Duration) {
        let _ = self.asked.recv_timeout(within);
    }
}

impl Drop for TrustServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // takes open connections with it, as a machine that is switched off
        }
    }
}
