//! What is asked of a node over JSON-RPC. Calls wait for the answer, with a deadline.

use jsonrpsee_http_client::{HttpClient, HttpClientBuilder};
use massa_api_exports::address::AddressInfo;
use massa_api_exports::datastore::DatastoreEntryInput;
use massa_api_exports::distributed_storage::{
    ArchivedPeriodInfo, ArchivedSlot, BlockOrSlot, ChunkAt, ListChunks, ListPeriods, ListSegments, StorageChunk,
    StoragePeriod, StorageSegment, StorageStatus, MAX_LIST_LIMIT,
};
use massa_api_exports::node::NodeStatus;
use massa_api_exports::operation::OperationInput;
use massa_api_exports::rpc::MassaRpcClient;
use massa_models::address::Address;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long a call may take: longer than a node waits for others when it reads a block that it does not hold.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Answers at most: a block of operations takes about a megabyte, a list of chunks half of one.
const RESPONSE_BYTES_MAX: u32 = 64 << 20;

/// Rows that are asked for at once: below the most that a node takes.
const ROWS_PER_CALL: usize = 100;

/// Why a node did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{method} of {address}: {source}")]
pub struct ClientError {
    /// The method.
    pub method: &'static str,
    /// The node's public API.
    pub address: SocketAddr,
    /// What went wrong.
    pub source: jsonrpsee::core::client::Error,
}

/// The runtime that all clients share.
#[derive(Clone, Debug)]
pub struct ClientRuntime(Arc<Runtime>);

impl ClientRuntime {
    /// Starts its thread.
    ///
    /// # Errors
    /// The operating system refuses another thread.
    pub fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self(Arc::new(runtime)))
    }
}

/// The public API of one node.
#[derive(Clone, Debug)]
pub struct NodeClient {
    runtime: ClientRuntime,
    address: SocketAddr,
    http: HttpClient,
}

impl NodeClient {
    /// A client of the node whose public API listens at `address`. Nothing is sent yet.
    pub fn new(runtime: &ClientRuntime, address: SocketAddr) -> Self {
        let builder = HttpClientBuilder::default()
            .request_timeout(CALL_TIMEOUT)
            .max_response_size(RESPONSE_BYTES_MAX);
        let http = builder
            .build(format!("http://{address}"))
            .expect("the URL of a socket address is one");
        Self {
            runtime: runtime.clone(),
            address,
            http,
        }
    }

    /// Where the node's public API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn call<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, jsonrpsee::core::client::Error>>,
    ) -> Result<T, ClientError> {
        self.runtime.0.block_on(call).map_err(|source| ClientError {
            method,
            address: self.address,
            source,
        })
    }

    /// The state of the node.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<NodeStatus, ClientError> {
        self.call("get_status", self.http.get_status())
    }

    /// What the node archives, holds and misses.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn storage_status(&self) -> Result<StorageStatus, ClientError> {
        self.call("get_storage_status", self.http.get_storage_status())
    }

    /// The archived periods from `first` to `last`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn periods(&self, first: u64, last: u64) -> Result<Vec<StoragePeriod>, ClientError> {
        let mut periods = Vec::new();
        let mut next = first;
        while next <= last {
            let limit = (last - next).saturating_add(1).min(MAX_LIST_LIMIT);
            let request = ListPeriods { first: next, limit };
            let page = self.call("list_storage_periods", self.http.list_storage_periods(request))?;
            let Some(newest) = page.last().map(|period| period.period) else {
                break;
            };
            periods.extend(page.into_iter().filter(|period| period.period <= last));
            next = newest.saturating_add(1).max(next + 1);
        }
        Ok(periods)
    }

    /// The segments of a range that the node has, open ones among them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn segments(&self, range: RangeInclusive<u64>) -> Result<Vec<StorageSegment>, ClientError> {
        let (mut segments, mut next) = (Vec::new(), *range.start());
        while range.contains(&next) {
            let limit = (range.end() - next).saturating_add(1).min(MAX_LIST_LIMIT);
            let request = ListSegments { first: next, limit };
            let page = self.call("list_storage_segments", self.http.list_storage_segments(request))?;
            let Some(newest) = page.last().map(|segment| segment.segment) else {
                break;
            };
            segments.extend(page.into_iter().filter(|segment| range.contains(&segment.segment)));
            next = newest.max(next) + 1;
        }
        Ok(segments)
    }

    /// The chunks of the segments of a range, those that are being filled among them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn chunks(&self, segments: RangeInclusive<u64>) -> Result<Vec<StorageChunk>, ClientError> {
        let mut chunks: Vec<StorageChunk> = Vec::new();
        loop {
            let request = ListChunks {
                first_segment: Some(*segments.start()),
                last_segment: Some(*segments.end()),
                period: None,
                after: chunks.last().map(|last| ChunkAt {
                    segment: last.segment,
                    chunk: last.chunk,
                }),
                limit: MAX_LIST_LIMIT,
            };
            let page = self.call("list_storage_chunks", self.http.list_storage_chunks(request))?;
            let is_last = (page.len() as u64) < MAX_LIST_LIMIT;
            chunks.extend(page);
            if is_last {
                return Ok(chunks);
            }
        }
    }

    /// Slots of an archived period.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn archived_period(&self, period: u64) -> Result<ArchivedPeriodInfo, ClientError> {
        self.call("get_archived_period", self.http.get_archived_period(period))
    }

    /// What is archived at a slot.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn archived_slot(&self, slot: Slot) -> Result<ArchivedSlot, ClientError> {
        self.call(
            "get_archived_block",
            self.http.get_archived_block(BlockOrSlot::Slot(slot)),
        )
    }

    /// Sends signed operations.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send_operations(&self, operations: Vec<OperationInput>) -> Result<Vec<OperationId>, ClientError> {
        self.call("send_operations", self.http.send_operations(operations))
    }

    /// What is known of addresses.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn addresses(&self, addresses: Vec<Address>) -> Result<Vec<AddressInfo>, ClientError> {
        self.call("get_addresses", self.http.get_addresses(addresses))
    }

    /// The final values of rows of a datastore; those that are not there are left out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn final_rows(&self, address: Address, keys: &[Vec<u8>]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ClientError> {
        let mut rows = BTreeMap::new();
        for keys in keys.chunks(ROWS_PER_CALL) {
            let entry = |key: &Vec<u8>| DatastoreEntryInput {
                address,
                key: key.clone(),
            };
            let entries = keys.iter().map(entry).collect();
            let values = self.call("get_datastore_entries", self.http.get_datastore_entries(entries))?;
            let found = keys.iter().zip(values);
            rows.extend(found.filter_map(|(key, value)| Some((key.clone(), value.final_value?))));
        }
        Ok(rows)
    }
}
