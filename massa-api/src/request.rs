//! One request: admitted, received, answered.
//!
//! The body is received before the request takes a place among those that run: a slow client holds a connection, and what
//! it has sent, nothing else. Arriving and waiting for a place have one deadline.

use crate::access::Access;
use crate::connection::Connection;
use crate::memory::{Held, Memory};
use crate::places::{Places, Rank};
use crate::rpc::{self, RpcLayer};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue, CONNECTION, CONTENT_TYPE};
use hyper::{Request, StatusCode};
use jsonrpsee::core::BoxError;
use jsonrpsee::server::{HttpBody, HttpResponse, TowerService};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::timeout_at;
use tower::layer::util::{Identity, Stack};
use tower::{Layer, Service, ServiceExt};
use tower_http::cors::CorsLayer;

/// Says that the answer leaves out what did not fit: the oldest of the events that were asked for.
pub(crate) const CUT_HEADER: HeaderName = HeaderName::from_static("massa-answer-cut");
/// What a body takes, for each of its bytes: it is there once as received, once as the parameters that a thread is given,
/// and once as they are parsed.
const BYTES_PER_BODY_BYTE: usize = 3;
/// What each list or object in a body takes beside its bytes. Of two bytes that say "nothing", a list of lists makes this.
const BYTES_PER_LIST: usize = 48;

/// The calls of a server.
pub(crate) type Calls = TowerService<Stack<RpcLayer, Identity>, Identity>;

/// What all requests of a server share.
pub(crate) struct Requests {
    pub access: Access,
    pub places: Arc<Places>,
    pub memory: Arc<Memory>,
    pub max_request_body_size: usize,
    /// Calls in one request.
    pub batch_request_limit: usize,
    /// For pages; the private server has none.
    pub cors: Option<CorsLayer>,
}

/// Where a request comes from; each call is given it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub IpAddr);

/// The connection on which a request comes.
#[derive(Clone)]
pub(crate) struct Origin {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub connection: Arc<Connection>,
}

impl Requests {
    /// Answers a request.
    pub async fn serve(self: Arc<Self>, request: Request<Incoming>, origin: Origin, calls: Calls) -> HttpResponse {
        let connection = Arc::clone(&origin.connection);
        let response = match self.access.check(&request, origin.local) {
            Err(refused) => refuse(refused.status, refused.reason),
            Ok(is_operator) => {
                let requests = Arc::clone(&self);
                let admitted = tower::service_fn(move |request| {
                    let (requests, origin, calls) = (Arc::clone(&requests), origin.clone(), calls.clone());
                    async move { Ok::<_, Infallible>(requests.call(request, &origin, calls, is_operator).await) }
                });
                let response = match &self.cors {
                    Some(cors) => cors.layer(admitted).oneshot(request).await,
                    None => admitted.oneshot(request).await,
                };
                response.unwrap_or_else(|never| match never {})
            }
        };
        connection.answers();
        response
    }

    async fn call(
        &self,
        request: Request<Incoming>,
        origin: &Origin,
        mut calls: Calls,
        is_operator: bool,
    ) -> HttpResponse {
        let client = self.access.client(request.headers(), origin.peer.ip());
        let held = self.memory.begin(client, is_operator);
        let (mut parts, body) = request.into_parts();
        let received = timeout_at(origin.connection.request_deadline(), self.receive(body, &held)).await;
        let late = || {
            Err(refuse(
                StatusCode::REQUEST_TIMEOUT,
                "the request took too long to arrive",
            ))
        };
        let body = match received.unwrap_or_else(|_| late()) {
            Ok(body) => body,
            Err(response) => return response,
        };
        let place = self.places.begin(client, rank(is_operator, origin.peer.ip(), client));
        let Ok(Ok(_place)) = timeout_at(origin.connection.request_deadline(), place).await else {
            return refuse(
                StatusCode::TOO_MANY_REQUESTS,
                "too many requests at a time; try again later",
            );
        };
        if let Some(answer) = rpc::refuse(&body, self.batch_request_limit) {
            return json(answer);
        }
        origin.connection.works();
        parts.extensions.insert(ClientAddress(client));
        parts.extensions.insert(Arc::clone(&held));
        let request = Request::from_parts(parts, HttpBody::new(Full::new(body)));
        let answered: Result<HttpResponse, BoxError> = calls.call(request).await;
        match answered {
            Ok(response) => hold(response, held),
            Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the call failed"),
        }
    }

    /// Receives a body as far as there is memory for it.
    async fn receive(&self, mut body: Incoming, held: &Held) -> Result<Bytes, HttpResponse> {
        let too_large = || refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request is too large");
        if body.size_hint().lower() > self.max_request_body_size as u64 {
            return Err(too_large());
        }
        let mut received = Vec::new();
        while let Some(frame) = body.frame().await {
            let broken = |_| refuse(StatusCode::BAD_REQUEST, "the request did not arrive whole");
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if received.len() + data.len() > self.max_request_body_size {
                return Err(too_large());
            }
            let lists = data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
            let taken = held.take(data.len() * BYTES_PER_BODY_BYTE + lists * BYTES_PER_LIST);
            taken.map_err(|error| refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()))?;
            received.extend_from_slice(&data);
        }
        Ok(received.into())
    }
}

fn rank(is_operator: bool, peer: IpAddr, client: IpAddr) -> Rank {
    match is_operator {
        true => Rank::Operator,
        false if peer.to_canonical().is_loopback() && client.is_loopback() => Rank::Local,
        false => Rank::Other,
    }
}

/// An answer that says why there is none. The connection ends with it: the rest of the request may still come.
fn refuse(status: StatusCode, reason: &str) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(format!("{reason}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn json(text: String) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(text));
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
}

/// Counts an answer until it is sent.
fn hold(response: HttpResponse, held: Arc<Held>) -> HttpResponse {
    let (mut parts, body) = response.into_parts();
    if held.is_cut() {
        parts.headers.insert(CUT_HEADER, HeaderValue::from_static("oldest"));
    }
    held.count(usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX));
    HttpResponse::from_parts(parts, HttpBody::new(HeldBody { body, held }))
}

struct HeldBody {
    body: HttpBody,
    held: Arc<Held>,
}

/// Bytes that are counted as long as anybody has them.
struct HeldBytes {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let _held = Arc::clone(&self.held);
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        frame.map_ok(|frame| frame.map_data(|bytes| Bytes::from_owner(HeldBytes { bytes, _held })))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
