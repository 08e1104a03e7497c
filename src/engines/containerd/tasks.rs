//! The containers that run in one containerd, and their images.

use std::collections::HashMap;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{ListContainersRequest, ListTasksRequest};
use containerd_client::types::v1::Status as TaskStatus;
use tonic::Status;

use super::{ContainerdClient, within};

/// A container comes with its whole specification.
const MAX_MESSAGE: usize = 64 << 20;

/// A container with a task that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunningContainer {
    /// Its ID.
    pub id: String,
    /// The image's name, as whoever made the container says; empty where it said nothing, as
    /// dockerd.
    pub image: String,
}

impl ContainerdClient {
    /// Every container of a namespace that runs.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn running(&self, namespace: &str) -> Result<Vec<RunningContainer>, Status> {
        let request = within(
            namespace,
            ListTasksRequest {
                filter: String::new(),
            },
        )?;
        let tasks = TasksClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .list(request)
            .await?
            .into_inner()
            .tasks;
        let ended = [TaskStatus::Unknown, TaskStatus::Stopped].map(i32::from);
        let running: Vec<String> = tasks
            .into_iter()
            .filter(|task| !ended.contains(&task.status))
            .map(|task| task.id)
            .collect();
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let request = within(
            namespace,
            ListContainersRequest {
                filters: Vec::new(),
            },
        )?;
        let known = ContainersClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .list(request)
            .await?
            .into_inner()
            .containers;
        let mut images: HashMap<String, String> = known
            .into_iter()
            .map(|container| (container.id, container.image))
            .collect();
        Ok(running
            .into_iter()
            .map(|id| RunningContainer {
                image: images.remove(&id).unwrap_or_default(),
                id,
            })
            .collect())
    }
}
