//! Sockets, connections and the runtime that serves them.

use crate::access::Access;
use crate::api::{MassaApi, Side};
use crate::connection::{Connection, Deadlines, Socket};
use crate::memory::{Memory, FREE_BYTES};
use crate::places::{ConnectionPlace, Places, CONNECTIONS_PER_REQUEST, RESERVE};
use crate::request::{Origin, Requests, CUT_HEADER};
use crate::rpc::RpcLayer;
use crate::{ApiConfig, ApiConfigError, ApiContext};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jsonrpsee::server::{
    stop_channel, BatchRequestConfig, Methods, RpcServiceBuilder, Server, ServerHandle, StopHandle, TowerServiceBuilder,
};
use massa_api_exports::rpc::MassaRpcServer;
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tower::layer::util::{Identity, Stack};
use tower_http::cors::{AllowHeaders, AllowMethods, Any, CorsLayer};
use tracing::{debug, info, warn};

/// How long running calls may take to end once the servers are stopped.
const STOP_DEADLINE: Duration = Duration::from_secs(3);
/// Pause after a failed accept: it fails at once again while there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes that are kept of what arrives on a connection or waits to be sent, beside bodies: the head of a request has to fit.
const CONNECTION_BUFFER_BYTES: usize = 16 << 10;
/// What a connection takes at most beside what is counted for its request: both buffers, and the first bytes of the request.
const CONNECTION_BYTES: usize = 2 * CONNECTION_BUFFER_BYTES + FREE_BYTES;

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
    // One for each call that may run: none waits for another to end.
    let call_threads = config.max_connections as usize + 3 * RESERVE;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(call_threads)
        .thread_name("massa-api")
        .enable_all()
        .build()
        .map_err(StartApiError::Runtime)?;
    let connections = connection_bytes(config.max_connections as usize);
    let memory = Memory::new(config.max_memory_size.saturating_sub(connections));
    let [public, private] = [Side::Public, Side::Private].map(|side| requests(side, &config, &context, &memory));
    let apis = MassaApi::both(config.clone(), context);
    let [public_api, private_api] = apis;
    let (public_address, public) = start_server(public, public_api, &config, &runtime)?;
    let (private_address, private) = start_server(private, private_api, &config, &runtime)?;
    Ok(ApiHandle {
        public_address,
        private_address,
        servers: vec![public, private],
        runtime: Some(runtime),
    })
}

/// Starts one of the servers; tells where it listens.
fn start_server(
    requests: Requests,
    api: MassaApi,
    config: &ApiConfig,
    runtime: &Runtime,
) -> Result<(SocketAddr, ServerHandle), StartApiError> {
    let side = requests.access.side;
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
    runtime.spawn(Acceptor::new(config, requests, api.into_rpc().into(), stop_handle).run(listener));
    info!(server = side.name(), %address, "api listens");
    Ok((address, server_handle))
}

/// What the connections of both servers take at most.
pub(crate) fn connection_bytes(max_connections: usize) -> usize {
    (max_connections + RESERVE) * CONNECTIONS_PER_REQUEST * CONNECTION_BYTES
}

fn listen(address: SocketAddr) -> io::Result<StdTcpListener> {
    let listener = StdTcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// How a server takes requests.
fn requests(side: Side, config: &ApiConfig, context: &ApiContext, memory: &Arc<Memory>) -> Requests {
    let places = match side {
        Side::Public => Places::new(config.max_connections as usize, config.max_connections_per_ip as usize),
        // One operator needs few.
        Side::Private => Places::new(RESERVE, RESERVE),
    };
    Requests {
        access: Access {
            side,
            allow_hosts: config.allowed_hosts(),
            token: context.token.clone(),
            trusted_proxies: config
                .trusted_proxies
                .iter()
                .map(|proxy| proxy.to_canonical())
                .collect(),
        },
        places,
        memory: Arc::clone(memory),
        max_request_body_size: config.max_request_body_size as usize,
        batch_request_limit: config.batch_request_limit as usize,
        cors: (side == Side::Public).then(cors),
    }
}

/// Pages of any origin may ask the public server, as upstream allows.
fn cors() -> CorsLayer {
    let methods = ["POST", "OPTIONS"].map(|method| method.parse().expect("the constant is a method"));
    let headers = ["content-type"].map(|header| header.parse().expect("the constant is a header"));
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(AllowMethods::list(methods))
        .allow_headers(AllowHeaders::list(headers))
        .expose_headers([CUT_HEADER])
}

/// Accepts the connections of one server.
struct Acceptor {
    service: TowerServiceBuilder<Stack<RpcLayer, Identity>, Identity>,
    methods: Methods,
    stop_handle: StopHandle,
    requests: Arc<Requests>,
    deadlines: Deadlines,
}

impl Acceptor {
    fn new(config: &ApiConfig, requests: Requests, methods: Methods, stop_handle: StopHandle) -> Self {
        // What may run is decided before: here is a place for all of it.
        let places = config.max_connections + 2 * RESERVE as u32;
        let service = Server::builder()
            .http_only()
            .max_connections(places)
            .max_request_body_size(config.max_request_body_size)
            .max_response_body_size(config.max_response_body_size)
            .set_batch_request_config(BatchRequestConfig::Limit(config.batch_request_limit))
            .set_rpc_middleware(RpcServiceBuilder::new().layer(RpcLayer))
            .to_service_builder();
        Self {
            service: service.max_connections(places),
            methods,
            stop_handle,
            requests: Arc::new(requests),
            deadlines: Deadlines {
                request: config.request_timeout.to_duration(),
                idle: config.idle_timeout.to_duration(),
            },
        }
    }

    async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop_handle.clone().shutdown() => return,
            };
            match accepted {
                Ok((socket, peer)) => match self.place(peer) {
                    Some(place) => self.serve(socket, peer, place),
                    None => debug!(%peer, "too many connections"),
                },
                Err(error) => {
                    debug!(error = &error as &dyn std::error::Error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn place(&self, peer: SocketAddr) -> Option<ConnectionPlace> {
        let client = (!self.requests.access.is_proxy(peer.ip())).then_some(peer.ip());
        self.requests.places.connect(client, Instant::now())
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, place: ConnectionPlace) {
        let Ok(local) = stream.local_addr() else {
            return;
        };
        // Latency only; a socket without it works too.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(self.deadlines, place);
        let origin = Origin {
            peer,
            local,
            connection: Arc::clone(&connection),
        };
        let calls = self
            .service
            .clone()
            .build(self.methods.clone(), self.stop_handle.clone());
        let requests = Arc::clone(&self.requests);
        let service = tower::service_fn(move |request| {
            let answer = Arc::clone(&requests).serve(request, origin.clone(), calls.clone());
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let socket = TokioIo::new(Socket {
            stream,
            connection: Arc::clone(&connection),
        });
        let mut http = http1::Builder::new();
        // The connection's own deadline is one for head and body.
        http.max_buf_size(CONNECTION_BUFFER_BYTES).header_read_timeout(None);
        let served = http.serve_connection(socket, TowerToHyperService::new(service));
        let stopped = self.stop_handle.clone().shutdown();
        tokio::spawn(async move {
            tokio::pin!(served, stopped);
            let ended = tokio::select! {
                // A request that is late is told so before its connection ends.
                biased;
                ended = &mut served => ended,
                reason = connection.is_over() => return debug!(%peer, reason, "connection closed"),
                () = &mut stopped => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            };
            if let Err(error) = ended {
                debug!(%peer, %error, "connection ended");
            }
        });
    }
}
