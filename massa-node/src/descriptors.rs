//! Descriptors: what everything together may open, against what the system allows.
//!
//! Each limit is sensible alone, but all of them together can be more than the process may open. Then strangers who hold
//! connections would keep the node from writing its own files: the ledger, its claims, its earnings. So connections, which
//! strangers open, are cut until everything fits; what the node needs itself is never cut.

use massa_api::CONNECTIONS_PER_REQUEST;
use massa_protocol_exports::ProtocolConfig;
use massa_protocol_worker::connectivity::{MAX_NAMED_CONNECTIONS, MAX_SIMULTANEOUS_DIALS};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use tracing::{info, warn};

/// Open tables of the ledger and of the store.
const DATABASE_FILES: u64 = 2 * 256;
/// What the process opens besides: standard streams, libraries, event queues, logs of both databases, one descriptor for
/// each thread of the servers.
const PROCESS_FILES: u64 = 64;
/// Kept for the node's own files: claims, earnings, fees, segments, the wallet.
const RESERVE: u64 = 64;
/// A socket, and its second half for the other direction.
const PER_CONNECTION: u64 = 2;
/// A third one, with which an unfinished handshake is ended.
const PER_HANDSHAKE: u64 = 3;
/// Public and private.
const API_SERVERS: u64 = 2;

/// The process may open fewer descriptors than the node needs for itself.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the process may open {limit} descriptors, and this node needs {needed} even with the fewest connections: raise the \
     hard limit (ulimit -Hn, LimitNOFILE) by {}, or lower protocol.target_out_connections", needed - limit
)]
pub struct DescriptorsError {
    limit: u64,
    needed: u64,
}

/// A number of connections that strangers can fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    /// The key that says it, or what it is.
    key: &'static str,
    wanted: u64,
    /// Fewer are of no use.
    least: u64,
    /// Descriptors for each.
    each: u64,
}

impl Share {
    /// What is given of it, if `given` of `spare` descriptors are there for all that is above the least.
    fn part(&self, given: u64, spare: u64) -> u64 {
        let above = self.wanted.saturating_sub(self.least);
        let part = u128::from(above) * u128::from(given) / u128::from(spare.max(1));
        self.least
            .min(self.wanted)
            .saturating_add(u64::try_from(part).unwrap_or(u64::MAX))
    }
}

/// What may be open, cut to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Requests at a time, of each server.
    pub(crate) api_requests: u32,
    /// Connections from peers.
    pub(crate) in_connections: usize,
    /// Connections that have yet to show who they are.
    pub(crate) handshakes: usize,
}

impl Descriptors {
    /// Raises the limit of this process as far as it may go, and cuts connections to what it leaves for them.
    ///
    /// # Errors
    /// [`DescriptorsError`]: it does not leave enough for the fewest.
    pub(crate) fn plan(api_requests: u32, protocol: &ProtocolConfig) -> Result<Self, DescriptorsError> {
        let limit = raise_limit();
        let (plan, needed) = fit(api_requests, protocol, limit)?;
        if needed <= limit {
            info!(limit, needed, "descriptors: the limit is above what this node can open");
            return Ok(plan);
        }
        for (share, given) in plan.shares(api_requests, protocol) {
            warn!(
                key = share.key,
                configured = share.wanted,
                used = given,
                "more connections are configured than the process may open: lower the key, or raise the hard limit"
            );
        }
        warn!(
            limit,
            needed, "descriptors: connections are cut, so that the node can always open its own files"
        );
        Ok(plan)
    }

    fn shares(&self, api_requests: u32, protocol: &ProtocolConfig) -> [(Share, u64); 3] {
        let [api, in_connections, handshakes] = shares(api_requests, protocol);
        [
            (api, u64::from(self.api_requests)),
            (in_connections, self.in_connections as u64),
            (handshakes, self.handshakes as u64),
        ]
    }
}

fn shares(api_requests: u32, protocol: &ProtocolConfig) -> [Share; 3] {
    [
        Share {
            key: "api.max_connections",
            wanted: u64::from(api_requests),
            least: 8,
            each: API_SERVERS * CONNECTIONS_PER_REQUEST as u64,
        },
        Share {
            key: "protocol.max_in_connections",
            wanted: protocol.max_in_connections as u64,
            least: 16,
            each: PER_CONNECTION,
        },
        Share {
            key: "unfinished handshakes (max_pending_connections)",
            wanted: protocol.max_pending_connections as u64,
            least: 16,
            each: PER_HANDSHAKE,
        },
    ]
}

/// What fits the limit, and what everything as configured would need.
fn fit(api_requests: u32, protocol: &ProtocolConfig, limit: u64) -> Result<(Descriptors, u64), DescriptorsError> {
    let out = protocol.target_out_connections as u64;
    let out = out
        .saturating_add(MAX_NAMED_CONNECTIONS as u64)
        .saturating_mul(PER_CONNECTION);
    let dials = MAX_SIMULTANEOUS_DIALS as u64 * PER_HANDSHAKE;
    let own = DATABASE_FILES + PROCESS_FILES + RESERVE + dials;
    let shares = shares(api_requests, protocol);
    let sum = |count: fn(&Share) -> u64| {
        let counts = shares.iter().map(|share| count(share).saturating_mul(share.each));
        counts.fold(0, u64::saturating_add)
    };
    let least = own
        .saturating_add(out)
        .saturating_add(sum(|share| share.least.min(share.wanted)));
    let spare = sum(|share| share.wanted.saturating_sub(share.least));
    let Some(left) = limit.checked_sub(least) else {
        return Err(DescriptorsError { limit, needed: least });
    };
    let [api_requests, in_connections, handshakes] = shares.map(|share| share.part(left.min(spare), spare));
    let plan = Descriptors {
        // None is above what was configured, which has the narrower type.
        api_requests: u32::try_from(api_requests).unwrap_or(u32::MAX),
        in_connections: in_connections as usize,
        handshakes: handshakes as usize,
    };
    Ok((plan, least.saturating_add(spare)))
}

/// Raises the soft limit to the hard one. Returns what holds then.
fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, ?current, ?maximum, "the limit of descriptors is not raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_api::ApiConfig;

    fn fitted(limit: u64) -> Result<(Descriptors, u64), DescriptorsError> {
        fit(ApiConfig::default().max_connections, &ProtocolConfig::default(), limit)
    }

    fn used(plan: &Descriptors) -> u64 {
        let shares = plan.shares(ApiConfig::default().max_connections, &ProtocolConfig::default());
        let connections: u64 = shares.iter().map(|(share, given)| share.each * given).sum();
        connections + DATABASE_FILES + PROCESS_FILES + RESERVE + 16 * 3 + (10 + 64) * 2
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let expected = Descriptors {
            api_requests: 100,
            in_connections: 250,
            handshakes: 128,
        };
        let (plan, needed) = fitted(1 << 20).unwrap();
        assert_eq!((plan, used(&plan)), (expected, needed));
        assert_eq!(fitted(needed).unwrap().0, expected);
    }

    #[test]
    fn what_does_not_fit_is_cut_until_it_does_and_the_own_files_are_not() {
        let least = fitted(0).unwrap_err().needed;
        let mut before = 0;
        for limit in least..fitted(1 << 20).unwrap().1 {
            let (plan, _) = fitted(limit).unwrap();
            assert!(used(&plan) <= limit, "{limit}: {plan:?}");
            assert!(plan.api_requests >= 8 && plan.in_connections >= 16 && plan.handshakes >= 16);
            assert!(used(&plan) >= before);
            before = used(&plan);
        }
        assert!(fitted(1024).is_ok(), "{least}");
        let error = fitted(least - 1).unwrap_err();
        assert!(error.to_string().contains("by 1,"), "{error}");
    }

    #[test]
    fn fewer_than_the_least_stay_as_configured() {
        let protocol = ProtocolConfig {
            max_in_connections: 3,
            ..ProtocolConfig::default()
        };
        let (plan, _) = fit(ApiConfig::default().max_connections, &protocol, 1024).unwrap();
        assert_eq!(plan.in_connections, 3);
    }
}
