//! A stand-in for NVIDIA's device plugin: it registers `nvidia.com/gpu` with the kubelet.
//!
//! The kubelet really counts, schedules and allocates; only the cards are missing. So a pod
//! that asks for one starts, finds no usable device, and its resource must say so. Devices
//! can be made unhealthy, as a card that fell off the bus.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use super::paths;
use proto::device_plugin_server::{DevicePlugin, DevicePluginServer};
use proto::registration_client::RegistrationClient;

mod proto {
    #![allow(
        unreachable_pub,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated code"
    )]
    tonic::include_proto!("v1beta1");
}

/// How many devices the node has.
pub const GPUS: usize = 4;
const RESOURCE: &str = "nvidia.com/gpu";
const SOCKET: &str = "livepeer-gpu.sock";
/// The kubelet may not listen yet, or be restarting.
const RETRY: Duration = Duration::from_millis(500);

struct Plugin {
    healthy: watch::Receiver<usize>,
    /// Cancelled when the kubelet closes its watch, as it does when it restarts.
    watched: CancellationToken,
}

/// Serves and registers the plugin until cancelled, again after every restart of the kubelet.
pub(crate) async fn run(healthy: watch::Receiver<usize>, cancel: CancellationToken) {
    while !cancel.is_cancelled() {
        tokio::select! {
            () = cancel.cancelled() => break,
            result = serve_once(healthy.clone()) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "device plugin not registered");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One registration, until the kubelet lets go of it.
async fn serve_once(healthy: watch::Receiver<usize>) -> Result<()> {
    let folder = paths::state("kubelet").join("device-plugins");
    let kubelet = folder.join("kubelet.sock");
    let socket = folder.join(SOCKET);
    std::fs::remove_file(&socket).ok();
    let incoming = UnixListenerStream::new(UnixListener::bind(&socket)?);
    let watched = CancellationToken::new();
    let plugin = Plugin {
        healthy,
        watched: watched.clone(),
    };
    let server = Server::builder()
        .add_service(DevicePluginServer::new(plugin))
        .serve_with_incoming(incoming);
    let register = async {
        let channel = Endpoint::from_static("http://kubelet")
            .connect_with_connector(tower::service_fn(move |_| {
                let kubelet = kubelet.clone();
                async move { UnixStream::connect(kubelet).await.map(TokioIo::new) }
            }))
            .await?;
        let request = proto::RegisterRequest {
            version: "v1beta1".to_owned(),
            endpoint: SOCKET.to_owned(),
            resource_name: RESOURCE.to_owned(),
            options: None,
        };
        RegistrationClient::new(channel).register(request).await?;
        watched.cancelled().await;
        Ok(())
    };
    tokio::select! {
        served = server => Ok(served?),
        registered = register => registered,
    }
}

/// The devices as the kubelet sees them: the first `healthy` of them are.
fn devices(healthy: usize) -> proto::ListAndWatchResponse {
    let devices = (0..GPUS)
        .map(|index| proto::Device {
            id: format!("gpu-{index}"),
            health: if index < healthy {
                "Healthy"
            } else {
                "Unhealthy"
            }
            .to_owned(),
        })
        .collect();
    proto::ListAndWatchResponse { devices }
}

#[tonic::async_trait]
impl DevicePlugin for Plugin {
    type ListAndWatchStream = BoxStream<'static, Result<proto::ListAndWatchResponse, Status>>;

    async fn get_device_plugin_options(
        &self,
        _: Request<proto::Empty>,
    ) -> Result<Response<proto::DevicePluginOptions>, Status> {
        Ok(Response::new(proto::DevicePluginOptions::default()))
    }

    async fn list_and_watch(
        &self,
        _: Request<proto::Empty>,
    ) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let closed = self.watched.clone().drop_guard();
        let stream = WatchStream::new(self.healthy.clone()).map(move |healthy| {
            // Held by the stream, so that its end cancels the token.
            let _ = &closed;
            Ok(devices(healthy))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn get_preferred_allocation(
        &self,
        _: Request<proto::PreferredAllocationRequest>,
    ) -> Result<Response<proto::PreferredAllocationResponse>, Status> {
        Ok(Response::new(proto::PreferredAllocationResponse {}))
    }

    async fn allocate(
        &self,
        request: Request<proto::AllocateRequest>,
    ) -> Result<Response<proto::AllocateResponse>, Status> {
        // What NVIDIA's plugin sets; its container runtime hook does the rest.
        let container_responses = request
            .into_inner()
            .container_requests
            .into_iter()
            .map(|container| proto::ContainerAllocateResponse {
                envs: HashMap::from([(
                    "NVIDIA_VISIBLE_DEVICES".to_owned(),
                    container.devices_ids.join(","),
                )]),
            })
            .collect();
        Ok(Response::new(proto::AllocateResponse {
            container_responses,
        }))
    }

    async fn pre_start_container(
        &self,
        _: Request<proto::PreStartContainerRequest>,
    ) -> Result<Response<proto::PreStartContainerResponse>, Status> {
        Ok(Response::new(proto::PreStartContainerResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::{GPUS, devices};

    #[test]
    fn unhealthy_devices_stay_listed() {
        let list = devices(1).devices;
        assert_eq!(list.len(), GPUS);
        let healthy = list.iter().filter(|d| d.health == "Healthy").count();
        assert_eq!(healthy, 1);
    }
}
