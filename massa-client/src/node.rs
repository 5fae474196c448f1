//! Asking a node.
//!
//! A call is made, waited for and answered on this thread. What a node answers is not believed: whoever shows it checks it
//! first.

use clap::Args;
use jsonrpsee::core::client::Error as ClientError;
use jsonrpsee_http_client::transport::Error as TransportError;
use jsonrpsee_http_client::{HeaderMap, HeaderValue, HttpClient, HttpClientBuilder};
use massa_distributed_storage_exports::segment_proof::check::CheckError;
use massa_distributed_storage_exports::verification::VerifyBlockError;
use massa_distributed_storage_worker::smart_contract::args::DecodeError;
use massa_models::operation::OperationId;
use massa_wallet::{ApiToken, WalletError};
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long an answer may take. Longer than a node may look for a block of the archive.
const CALL_TIMEOUT: Duration = Duration::from_secs(45);
/// Bytes of an answer: what a node sends at most.
const ANSWER_BYTES_MAX: u32 = 50 << 20;

/// Names the file with the token, if no option does.
pub const TOKEN_FILE_VARIABLE: &str = "MASSA_API_TOKEN_FILE";

/// Where the node is.
#[derive(Clone, Debug, Args)]
pub struct NodeArguments {
    /// Address of the node.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), global = true)]
    pub ip: IpAddr,
    /// Port of the node's public API.
    #[arg(long, value_name = "PORT", default_value_t = 33035, global = true)]
    pub public_port: u16,
    /// Port of the node's private API.
    #[arg(long, value_name = "PORT", default_value_t = 33034, global = true)]
    pub private_port: u16,
    /// File with the token of the node's private API [default: config/api_token, as in the folder of a node; or what
    /// MASSA_API_TOKEN_FILE names].
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}

impl NodeArguments {
    fn token_path(&self) -> PathBuf {
        let named = self.token_file.clone();
        let named = named.or_else(|| std::env::var_os(TOKEN_FILE_VARIABLE).map(PathBuf::from));
        named.unwrap_or_else(|| PathBuf::from(ApiToken::DEFAULT_PATH))
    }
}

/// Why a call was not answered.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nobody listens there.
    #[error(
        "no node answers at {ip} port {port}: start one with massa-node, or name another with --ip and --{server}-port"
    )]
    Refused {
        /// Address of the node.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// Which of its APIs: `public` or `private`.
        server: &'static str,
    },
    /// The node did not answer in time.
    #[error("the node at {ip} port {port} did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// Address of the node.
        ip: IpAddr,
        /// The port.
        port: u16,
    },
    /// The private API needs a token, and there is none to be sent.
    #[error("the private API needs the node's token: run massa-cli in the folder of the node, or name the file that its api.token_file names, with --token-file or {TOKEN_FILE_VARIABLE}")]
    NoToken(#[source] WalletError),
    /// The token is not the one of the node.
    #[error("the node at {ip} port {port} does not accept the token in {path}: it is another node's, or an old one (--token-file names the file)")]
    TokenRefused {
        /// Address of the node.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// The file.
        path: String,
    },
    /// The node is not asked under this address.
    #[error(
        "the node at {ip} port {port} is not to be asked under this address: add it to the node's api.allow_hosts"
    )]
    HostRefused {
        /// Address of the node.
        ip: IpAddr,
        /// The port.
        port: u16,
    },
    /// The node has no place or no memory for the request.
    #[error("the node at {ip} port {port} is busy: try again later")]
    Busy {
        /// Address of the node.
        ip: IpAddr,
        /// The port.
        port: u16,
    },
    /// The node answered with an error.
    #[error("the node says: {message}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Call {
        /// The JSON-RPC error code.
        code: i32,
        /// Its message.
        message: String,
        /// Its data, if it has any.
        detail: String,
    },
    /// What answered does not speak as a node does.
    #[error("{ip} port {port} does not answer as a node does: {reason}")]
    NotANode {
        /// Address of the node.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// What went wrong.
        reason: String,
    },
    /// The connection could not be made or broke.
    #[error("the connection to {ip} port {port} failed: {reason}")]
    Connection {
        /// Address of the node.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// What went wrong.
        reason: String,
    },
    /// No threads or sockets.
    #[error("could not prepare the connection")]
    Prepare(#[source] io::Error),
}

/// Why a command that asks a node failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum NodeCommandError {
    /// The node was not reached, or refused.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The wallet failed.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The wallet does not have the key.
    #[error("the wallet in {wallet} has no key of {address} (wallet balance lists its addresses)")]
    NoKey {
        /// Folder of the wallet.
        wallet: String,
        /// The address.
        address: massa_models::address::Address,
    },
    /// The wallet has no key at all.
    #[error("the wallet in {0} has no keys (wallet generate makes one)")]
    EmptyWallet(String),
    /// An argument cannot be used.
    #[error("{field}: {reason}")]
    Argument {
        /// The argument.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive of the node does not run, although it should.
    #[error("the archive of the node does not run: {0}")]
    NotRunning(String),
    /// The node sent a block that is not one, or not the one asked for: the node is at fault.
    #[error("the node's answer was refused")]
    Block(#[from] VerifyBlockError),
    /// The node sent a proof that proves nothing: the node is at fault, unless --root or --period-root is wrong.
    #[error("the node's proof was refused")]
    Proof(#[from] CheckError),
    /// The node sent something else than was asked for: the node is at fault.
    #[error("the node's answer was refused: {field}: expected {expected}, found {found}")]
    Answer {
        /// The field.
        field: &'static str,
        /// What follows from the question or the other fields.
        expected: String,
        /// What was sent.
        found: String,
    },
    /// The contract does not do what it was asked for.
    #[error("the contract refuses: {0}")]
    Refused(String),
    /// The contract knows no such thing.
    #[error("the registry has no {0}")]
    Absent(String),
    /// What a contract answered is not what it should answer: it is another contract, or another version of it.
    #[error("the contract's answer was refused")]
    Contract(#[from] DecodeError),
    /// No command names the registry, and neither does the node.
    #[error("the node follows no registry: name one with --registry")]
    NoRegistry,
    /// The same operation was sent before.
    #[error("operation {0} was sent before: wait for the next period, or pay another --fee")]
    SentBefore(OperationId),
    /// An operation was executed and failed; its fee is paid.
    #[error("operation {operation} failed: {reason}")]
    Failed {
        /// The operation.
        operation: OperationId,
        /// What the contract, or its host, said.
        reason: String,
    },
    /// An operation was not final in time. It may be yet.
    #[error("operation {operation} was not final within {seconds} s: {state}")]
    NotFinal {
        /// The operation.
        operation: OperationId,
        /// How long it was waited for.
        seconds: u64,
        /// How far it was.
        state: &'static str,
    },
    /// A file could not be read.
    #[error("could not read {path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The node that was challenged failed: it is at fault.
    #[error("node {node} failed the challenge")]
    ChallengeFailed {
        /// The node.
        node: massa_models::node::NodeId,
    },
    /// The node that was to put a challenge could not.
    #[error(
        "the challenge has no result after {seconds} s: the node that was to put it could not, or it was restarted"
    )]
    NoChallengeResult {
        /// How long the node said it would take.
        seconds: u64,
    },
    /// What the registry concluded for a round is not what follows from the archive and its own rows.
    #[error("round {round} is not as it should be: {what}")]
    Differs {
        /// The round.
        round: u64,
        /// The first difference.
        what: String,
    },
    /// There is no proof yet.
    #[error("the node has no proof: {0}")]
    NoProof(String),
    /// A missed slot has no bytes.
    #[error("slot {}:{} was missed: there is no block", slot.period, slot.thread)]
    Missed {
        /// The slot.
        slot: massa_models::slot::Slot,
    },
    /// A lost block has no bytes.
    #[error("block {block_id} of slot {}:{} is lost: only its id is known", slot.period, slot.thread)]
    Lost {
        /// The block.
        block_id: massa_models::block_id::BlockId,
        /// Its slot.
        slot: massa_models::slot::Slot,
    },
    /// The result could not be written.
    #[error("could not write the output")]
    Output(#[from] io::Error),
}

impl NodeCommandError {
    /// A field of an answer is not what it should be.
    pub fn answer(field: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Answer {
            field,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

/// One of the APIs of a node.
pub struct Node {
    server: Server,
    client: HttpClient,
    runtime: Runtime,
}

/// What is asked.
struct Server {
    name: &'static str,
    address: SocketAddr,
    token_path: PathBuf,
}

impl Node {
    /// Prepares calls of the public API; the connection is made by the first one. A node on this machine is sent the token,
    /// if there is one: it has a place for its operator when it has none for others.
    ///
    /// # Errors
    /// [`NodeError::Prepare`].
    pub fn public(arguments: &NodeArguments) -> Result<Self, NodeError> {
        let token = arguments
            .ip
            .is_loopback()
            .then(|| ApiToken::load(&arguments.token_path()));
        let token = token.and_then(Result::ok);
        Self::new("public", arguments.public_port, arguments, token.as_ref())
    }

    /// Prepares calls of the private API.
    ///
    /// # Errors
    /// [`NodeError::NoToken`], [`NodeError::Prepare`].
    pub fn private(arguments: &NodeArguments) -> Result<Self, NodeError> {
        let token = ApiToken::load(&arguments.token_path()).map_err(NodeError::NoToken)?;
        Self::new("private", arguments.private_port, arguments, Some(&token))
    }

    fn new(
        name: &'static str,
        port: u16,
        arguments: &NodeArguments,
        token: Option<&ApiToken>,
    ) -> Result<Self, NodeError> {
        let server = Server {
            name,
            address: SocketAddr::new(arguments.ip, port),
            token_path: arguments.token_path(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(NodeError::Prepare)?;
        let client = HttpClientBuilder::default()
            .request_timeout(CALL_TIMEOUT)
            .max_response_size(ANSWER_BYTES_MAX)
            .max_request_size(ANSWER_BYTES_MAX)
            .set_headers(headers(token))
            .build(format!("http://{}", server.address));
        Ok(Self {
            client: client.map_err(|error| server.error(&error))?,
            server,
            runtime,
        })
    }

    /// Makes a call of [`massa_api_exports::rpc::MassaRpcClient`].
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn call<'a, T, F>(&'a self, call: impl FnOnce(&'a HttpClient) -> F) -> Result<T, NodeError>
    where
        F: Future<Output = Result<T, ClientError>> + 'a,
    {
        let answer = self.runtime.block_on(call(&self.client));
        answer.map_err(|error| self.server.error(&error))
    }
}

/// What is sent with each call.
fn headers(token: Option<&ApiToken>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let value: HeaderValue = format!("Bearer {}", token.secret())
            .parse()
            .expect("digits are a header's value");
        headers.insert("authorization", value);
    }
    headers
}

impl Server {
    fn error(&self, error: &ClientError) -> NodeError {
        let (server, ip, port) = (self.name, self.address.ip(), self.address.port());
        match error {
            ClientError::Call(error) => NodeError::Call {
                code: error.code(),
                message: error.message().to_string(),
                detail: error
                    .data()
                    .map(|data| data.get().trim_matches('"').to_string())
                    .unwrap_or_default(),
            },
            ClientError::RequestTimeout => NodeError::Timeout { ip, port },
            ClientError::Transport(error) => {
                if let Some(TransportError::Rejected { status_code }) = error.downcast_ref() {
                    return self.refusal(*status_code);
                }
                if causes(error.as_ref()).any(is_refused) {
                    return NodeError::Refused { ip, port, server };
                }
                // The innermost cause tells most; those around it say that a request failed.
                let reason = causes(error.as_ref())
                    .last()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                NodeError::Connection { ip, port, reason }
            }
            error => NodeError::NotANode {
                ip,
                port,
                reason: error.to_string(),
            },
        }
    }

    /// The node, or what stands before it, did not take the request.
    fn refusal(&self, status: u16) -> NodeError {
        let (ip, port) = (self.address.ip(), self.address.port());
        match status {
            401 => NodeError::TokenRefused {
                ip,
                port,
                path: self.token_path.display().to_string(),
            },
            403 => NodeError::HostRefused { ip, port },
            429 | 503 => NodeError::Busy { ip, port },
            _ => NodeError::NotANode {
                ip,
                port,
                reason: format!("HTTP status {status}"),
            },
        }
    }
}

/// An error and what caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let io_error = error.downcast_ref::<io::Error>();
    io_error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
