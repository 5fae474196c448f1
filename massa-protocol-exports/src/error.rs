//! Errors of the protocol.

/// Why the protocol did not do what was asked.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// A thread of the protocol is gone or does not keep up.
    #[error("channel error: {0}")]
    ChannelError(String),
    /// The message was not queued: the peer's queue is full, or it could not be encoded.
    #[error("send error: {0}")]
    SendError(String),
    /// There is no connection to the peer.
    #[error("peer {0} is not connected")]
    PeerDisconnected(String),
    /// A peer sent something that is no message of this protocol.
    #[error("handler error: {0}")]
    HandlerError(String),
    /// A setting is not usable.
    #[error("invalid config: {0}")]
    InvalidConfig(String),
    /// The handshake did not succeed.
    #[error("handshake: {0}")]
    Handshake(String),
    /// The socket failed.
    #[error("input or output failed: {0}")]
    Io(#[from] std::io::Error),
}
