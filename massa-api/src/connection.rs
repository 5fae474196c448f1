//! One connection: what it does, and until when.
//!
//! A request has a deadline from its first byte on, and an answer one from its beginning to the first byte of the next
//! request: a client cannot renew either by sending or taking a byte now and then. While a call runs there is none; calls
//! have limits of their own.

use crate::places::ConnectionPlace;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, Instant};

/// How long clients may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// For a request.
    pub request: Duration,
    /// For taking an answer and asking again.
    pub idle: Duration,
}

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    deadlines: Deadlines,
    place: ConnectionPlace,
    /// Until when the client has to do its part; `None` while a call runs.
    deadline: watch::Sender<Option<Instant>>,
    /// Nothing of the next request has arrived.
    is_idle: AtomicBool,
}

impl Connection {
    /// The client has to send a request.
    pub fn new(deadlines: Deadlines, place: ConnectionPlace) -> Arc<Self> {
        let until = Instant::now() + deadlines.request;
        Arc::new(Self {
            deadlines,
            place,
            deadline: watch::Sender::new(Some(until)),
            is_idle: AtomicBool::new(false),
        })
    }

    /// Until when the request has to be there.
    pub fn request_deadline(&self) -> Instant {
        self.deadline.borrow().unwrap_or_else(Instant::now)
    }

    /// The request is there, its call runs.
    pub fn works(&self) {
        self.place.works();
        self.deadline.send_replace(None);
    }

    /// The answer is there, the client has to take it.
    pub fn answers(&self) {
        let now = Instant::now();
        self.place.waits(now.into_std());
        self.is_idle.store(true, Ordering::Relaxed);
        self.deadline.send_replace(Some(now + self.deadlines.idle));
    }

    fn received(&self) {
        if self.is_idle.swap(false, Ordering::Relaxed) {
            self.deadline
                .send_replace(Some(Instant::now() + self.deadlines.request));
        }
    }

    /// Ends when the connection has to.
    pub async fn is_over(&self) -> &'static str {
        tokio::select! {
            () = self.place.is_needed() => "its place is needed",
            () = self.is_late() => "the client is too slow",
        }
    }

    async fn is_late(&self) {
        let mut changes = self.deadline.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            let late = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // A deadline that was changed is over, however late this is looked at.
                biased;
                // Fails only without a sender, and `self` has it.
                _ = changes.changed() => {}
                () = late => return,
            }
        }
    }
}

/// A socket that tells its connection when something arrives.
pub(crate) struct Socket {
    pub stream: TcpStream,
    pub connection: Arc<Connection>,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection.received();
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
