//! Sockets, connections and the runtime that serves them.

use crate::api::{ClientAddress, MassaApi, Side};
use crate::{ApiConfig, ApiConfigError, ApiContext};
use jsonrpsee::server::{
    serve_with_graceful_shutdown, stop_channel, BatchRequestConfig, Methods, Server, ServerHandle, StopHandle,
};
use massa_api_exports::rpc::MassaRpcServer;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceBuilder;
use tower_http::add_extension::AddExtensionLayer;
use tower_http::cors::{AllowHeaders, AllowMethods, Any, CorsLayer};
use tracing::{debug, info, warn};

/// How long running calls may take to end once the servers are stopped.
const STOP_DEADLINE: Duration = Duration::from_secs(3);
/// Threads for calls. More than the archive may keep busy, so that the other methods answer meanwhile.
const CALL_THREADS: usize = 48;
/// Pause after a failed accept: it fails at once again while there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections for each request at a time. Browsers and indexers keep theirs open between requests.
const CONNECTIONS_PER_REQUEST: usize = 4;

/// Why the servers did not start.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StartApiError {
    /// A setting is not usable.
    #[error("api.{0}")]
    Config(#[from] ApiConfigError),
    /// The address is taken, or not this machine's.
    #[error("the {server} API could not listen on {address}")]
    Bind {
        /// Which server.
        server: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No threads.
    #[error("the API's threads could not be started")]
    Runtime(#[source] io::Error),
}

/// The running servers; they stop with it.
pub struct ApiHandle {
    public_address: SocketAddr,
    private_address: SocketAddr,
    servers: Vec<ServerHandle>,
    runtime: Option<Runtime>,
}

impl ApiHandle {
    /// Where the public server listens.
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// Where the private server listens.
    pub fn private_address(&self) -> SocketAddr {
        self.private_address
    }

    /// Stops both servers. Waits 3 s at most for running calls. Not to be called on a thread of the servers.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        for server in &self.servers {
            // Fails only if it has stopped already.
            let _ = server.stop();
        }
        let servers: Vec<ServerHandle> = self.servers.drain(..).collect();
        let stopped = async {
            for server in servers {
                server.stopped().await;
            }
        };
        if runtime
            .block_on(async { tokio::time::timeout(STOP_DEADLINE, stopped).await })
            .is_err()
        {
            warn!("api calls did not end in time");
        }
        runtime.shutdown_timeout(Duration::from_millis(100));
    }
}

impl Drop for ApiHandle {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts both servers.
///
/// # Errors
/// [`StartApiError`].
pub fn start_api(config: ApiConfig, context: ApiContext) -> Result<ApiHandle, StartApiError> {
    config.check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(CALL_THREADS)
        .thread_name("massa-api")
        .enable_all()
        .build()
        .map_err(StartApiError::Runtime)?;
    let [public, private] = MassaApi::both(config.clone(), context);
    let (public_address, public) = start_server(Side::Public, public, &config, &runtime)?;
    let (private_address, private) = start_server(Side::Private, private, &config, &runtime)?;
    Ok(ApiHandle {
        public_address,
        private_address,
        servers: vec![public, private],
        runtime: Some(runtime),
    })
}

/// Starts one of the servers; tells where it listens.
fn start_server(
    side: Side,
    api: MassaApi,
    config: &ApiConfig,
    runtime: &Runtime,
) -> Result<(SocketAddr, ServerHandle), StartApiError> {
    let wanted = match side {
        Side::Public => config.bind_public,
        Side::Private => config.bind_private,
    };
    let bind_error = |source| StartApiError::Bind {
        server: side.name(),
        address: wanted,
        source,
    };
    // A socket is registered with the runtime that it is made in.
    let _inside = runtime.enter();
    let listener = listen(wanted).and_then(TcpListener::from_std).map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    let (stop_handle, server_handle) = stop_channel();
    runtime.spawn(Acceptor::new(config, api.into_rpc().into(), stop_handle).run(listener));
    info!(server = side.name(), %address, "api listens");
    Ok((address, server_handle))
}

fn listen(address: SocketAddr) -> io::Result<StdTcpListener> {
    let listener = StdTcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Browsers of any origin may ask, as upstream allows.
fn cors() -> CorsLayer {
    let methods = ["POST", "OPTIONS"].map(|method| method.parse().expect("the constant is a method"));
    let headers = ["content-type"].map(|header| header.parse().expect("the constant is a header"));
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(AllowMethods::list(methods))
        .allow_headers(AllowHeaders::list(headers))
}

/// Accepts the connections of one server.
struct Acceptor {
    service: jsonrpsee::server::TowerServiceBuilder<tower::layer::util::Identity, tower::layer::util::Identity>,
    methods: Methods,
    stop_handle: StopHandle,
    connections: Arc<Semaphore>,
    idle_timeout: Duration,
}

impl Acceptor {
    fn new(config: &ApiConfig, methods: Methods, stop_handle: StopHandle) -> Self {
        let service = Server::builder()
            .http_only()
            .max_connections(config.max_connections)
            .max_request_body_size(config.max_request_body_size)
            .max_response_body_size(config.max_response_body_size)
            .set_batch_request_config(BatchRequestConfig::Limit(config.batch_request_limit))
            .to_service_builder();
        let connections = config.max_connections as usize * CONNECTIONS_PER_REQUEST;
        Self {
            service: service.max_connections(config.max_connections),
            methods,
            stop_handle,
            connections: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            idle_timeout: config.idle_timeout.to_duration(),
        }
    }

    async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop_handle.clone().shutdown() => return,
            };
            match accepted {
                // When there are too many, the newest is closed at once.
                Ok((socket, from)) => match Arc::clone(&self.connections).try_acquire_owned() {
                    Ok(permit) => self.serve(socket, from, permit),
                    Err(_) => debug!(%from, "too many connections"),
                },
                Err(error) => {
                    debug!(error = &error as &dyn std::error::Error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, socket: TcpStream, from: SocketAddr, permit: OwnedSemaphorePermit) {
        let middleware = ServiceBuilder::new()
            .layer(cors())
            .layer(AddExtensionLayer::new(ClientAddress(from.ip())));
        let service = self.service.clone().set_http_middleware(middleware);
        let service = service.build(self.methods.clone(), self.stop_handle.clone());
        let stopped = self.stop_handle.clone().shutdown();
        // Latency only; a socket without it works too.
        let _ = socket.set_nodelay(true);
        let mut socket = TimeoutStream::new(socket);
        socket.set_read_timeout(Some(self.idle_timeout));
        socket.set_write_timeout(Some(self.idle_timeout));
        tokio::spawn(async move {
            if let Err(error) = serve_with_graceful_shutdown(Box::pin(socket), service, stopped).await {
                debug!(%from, error, "connection ended");
            }
            drop(permit);
        });
    }
}
