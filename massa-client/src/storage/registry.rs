//! `massa-cli storage register`, `update`, `unregister`, `claim-rewards` and `fund`: a node operator and the registry.
//!
//! Coins are computed here: the stake, and the most that the call's storage can cost. The contract returns what is left.

use crate::contract::{self, ContractCall, ExecutedReport, SendingArguments};
use crate::node::{Node, NodeArguments, NodeCommandError};
use crate::operation::Signer;
use crate::sc::RegistryArguments;
use clap::Args;
use massa_api_exports::distributed_storage::{ListNodes, MAX_LIST_LIMIT};
use massa_api_exports::rpc::MassaRpcClient;
use massa_distributed_storage_worker::smart_contract::storage_registry::{
    self as registry, Call, Identity, Registration, StorageConfig,
};
use massa_distributed_storage_worker::smart_contract::views;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use std::net::SocketAddr;
use std::path::Path;

/// What the ledger asks for each byte of an entry, in nanoMAS.
const BYTE_COST: u64 = 100_000;
/// Bytes that an entry costs beside its own.
const ENTRY_BYTES: usize = 4;
/// Bytes of a node's record before its identity.
const NODE_RECORD_BYTES: usize = 592;
/// Pages of nodes that are looked through: as many nodes as placement can count.
const NODE_PAGES_MAX: usize = 66;
/// For calls that write entries of the same size: what they take comes back.
const STORAGE_MARGIN: Amount = Amount::from_raw(50_000_000);

/// Who signs, and where the registry is.
#[derive(Debug, Args)]
pub struct OperatorArguments {
    /// The operator's address; the wallet must have its key.
    pub from: Address,
    /// Where the registry is.
    #[command(flatten)]
    pub registry: RegistryArguments,
    /// What it may cost and take.
    #[command(flatten)]
    pub sending: SendingArguments,
}

/// Arguments of `storage register`.
#[derive(Debug, Args)]
pub struct RegisterArguments {
    /// Who and where.
    #[command(flatten)]
    pub operator: OperatorArguments,
    /// Disk space to offer.
    #[arg(long, value_name = "N")]
    pub gb: u64,
    /// Stake; by default the least that the registry takes.
    #[arg(long, value_name = "MAS")]
    pub stake: Option<Amount>,
    /// Periods that are kept; 0 for all.
    #[arg(long, value_name = "PERIODS", default_value_t = 0)]
    pub retention_periods: u64,
    /// Where peers reach the node, up to what 256 characters hold; by default what the node's list of storage nodes says.
    #[arg(long, value_name = "IP:PORT")]
    pub listener: Vec<SocketAddr>,
    /// Do not name the node, which otherwise signs with its own key through its private port.
    #[arg(long, conflicts_with = "listener")]
    pub without_identity: bool,
}

/// Arguments of `storage update`.
#[derive(Debug, Args)]
pub struct UpdateArguments {
    /// Who and where.
    #[command(flatten)]
    pub operator: OperatorArguments,
    /// Disk space to offer from the second round after this one on.
    #[arg(long, value_name = "N")]
    pub gb: u64,
    /// Stake to add; by default what the registry needs for the allocation.
    #[arg(long, value_name = "MAS")]
    pub add_stake: Option<Amount>,
}

/// Arguments of `storage fund`.
#[derive(Debug, Args)]
pub struct FundArguments {
    /// Who and where.
    #[command(flatten)]
    pub operator: OperatorArguments,
    /// Coins for the pool that pays rewards.
    #[arg(long, value_name = "MAS")]
    pub amount: Amount,
}

/// An operator who calls a registry.
pub struct Operator<'a> {
    signer: Signer<'a>,
    registry: Address,
    sending: SendingArguments,
}

impl<'a> Operator<'a> {
    /// Finds the registry and the key.
    ///
    /// # Errors
    /// [`NodeCommandError`].
    pub fn new(arguments: &OperatorArguments, node: &'a Node, wallet: &Path) -> Result<Self, NodeCommandError> {
        let signer = Signer::new(node, wallet, arguments.from)?;
        Ok(Self {
            registry: arguments.registry.find(node)?,
            signer,
            sending: arguments.sending,
        })
    }

    /// Joins. Without an identity, peers are not told where the node is.
    ///
    /// # Errors
    /// [`NodeCommandError`].
    pub fn register(&self, registration: &Registration) -> Result<ExecutedReport, NodeCommandError> {
        let stake = match registration.stake {
            Some(stake) => stake,
            None => self.required_stake(registration.allocated_gb)?,
        };
        let storage = registration_storage(&self.signer.from(), registration);
        let gb = registration.allocated_gb;
        let did = format!("registered {gb} GB: stake {stake} MAS, storage at most {storage} MAS, the rest came back");
        let call = registry::register_storage_node(registration);
        self.execute(call, stake.saturating_add(storage), did)
    }

    /// What the key of a node signs so that it can be registered by this operator, and the identity from that.
    ///
    /// # Errors
    /// [`NodeCommandError::Node`] if the private port does not answer.
    pub fn identity(&self, private: &Node, listeners: Vec<SocketAddr>) -> Result<Identity, NodeCommandError> {
        let message = registry::node_id_message(self.signer.chain_id(), &self.registry, &self.signer.from());
        let signed = private.call(|client| client.node_sign_message(message.into_bytes()))?;
        Ok(Identity {
            node_id: NodeId::new(signed.public_key),
            listeners,
            signature: signed.signature.to_string(),
        })
    }

    fn update(&self, gb: u64, added: Option<Amount>) -> Result<ExecutedReport, NodeCommandError> {
        let added = match added {
            Some(added) => added,
            None => self.required_stake(gb)?.saturating_sub(self.stake()?),
        };
        let did = format!(
            "{gb} GB from the second round after this one on: stake added {added} MAS, storage at most {STORAGE_MARGIN} MAS, the rest came back"
        );
        let call = registry::update_storage_allocation(gb, added);
        self.execute(call, added.saturating_add(STORAGE_MARGIN), did)
    }

    /// Adds coins to the pool.
    ///
    /// # Errors
    /// [`NodeCommandError`].
    pub fn fund(&self, amount: Amount) -> Result<ExecutedReport, NodeCommandError> {
        if amount.is_zero() {
            let reason = "must be more than 0".to_string();
            return Err(NodeCommandError::Argument {
                field: "--amount",
                reason,
            });
        }
        self.execute(
            registry::fund(),
            amount,
            format!("added {amount} MAS to the pool that pays rewards"),
        )
    }

    fn unregister(&self) -> Result<ExecutedReport, NodeCommandError> {
        let mut report = self.execute(registry::unregister_storage_node(), Amount::zero(), String::new())?;
        report.did = unregistered_text(&report.events);
        Ok(report)
    }

    fn claim_rewards(&self) -> Result<ExecutedReport, NodeCommandError> {
        self.execute(
            registry::claim_rewards(),
            Amount::zero(),
            "took the matured rewards".to_string(),
        )
    }

    fn execute(&self, call: Call, coins: Amount, did: String) -> Result<ExecutedReport, NodeCommandError> {
        let call = ContractCall {
            contract: self.registry,
            function: call.function.to_string(),
            parameter: call.parameter,
            coins,
        };
        contract::execute_call(&self.signer, &call, self.sending, did)
    }

    fn view(&self, call: Call) -> Result<Vec<u8>, NodeCommandError> {
        let call = ContractCall {
            contract: self.registry,
            function: call.function.to_string(),
            parameter: call.parameter,
            coins: Amount::zero(),
        };
        Ok(contract::read(self.signer.node(), &call, None, None)?.returned)
    }

    /// A change of configuration may count from the round on from which the allocation does: the higher one covers both.
    fn required_stake(&self, gb: u64) -> Result<Amount, NodeCommandError> {
        let now = views::decode_config(&self.view(registry::get_config())?)?;
        let (next, _) = views::decode_next_config(&self.view(registry::get_next_config())?)?;
        Ok([now, next]
            .iter()
            .map(|config: &StorageConfig| config.required_stake(gb))
            .max()
            .unwrap_or_default())
    }

    fn stake(&self) -> Result<Amount, NodeCommandError> {
        let from = self.signer.from().to_string();
        let info = views::decode_node_info(&self.view(registry::get_node_info(&from))?)?;
        let info = info.ok_or_else(|| NodeCommandError::Absent(format!("node {from}")))?;
        Ok(info.stake)
    }
}

/// The most that the entries of a new node cost: its record, its place in the list, and the entry of its node id.
fn registration_storage(operator: &Address, registration: &Registration) -> Amount {
    /// Digits of the largest index.
    const INDEX_DIGITS: usize = 20;
    let address = operator.to_string().len();
    let (id, listeners) = match &registration.identity {
        None => (0, 0),
        Some(identity) => (
            identity.node_id.to_string().len(),
            registry::listeners_text(&identity.listeners).len(),
        ),
    };
    let record = "node_".len() + address + NODE_RECORD_BYTES + 2 + id + 2 + listeners + ENTRY_BYTES;
    let index = "index_".len() + INDEX_DIGITS + address + ENTRY_BYTES;
    let node_id = if id == 0 {
        0
    } else {
        "p2p_".len() + id + address + ENTRY_BYTES
    };
    let bytes = (record + index + node_id) as u64;
    Amount::from_raw(bytes * BYTE_COST)
}

fn unregistered_text(events: &[String]) -> String {
    let field = |name: &str| {
        let event = events.iter().find_map(|event| event.strip_prefix(name));
        event.and_then(|fields| fields.rsplit(',').next())
    };
    if let Some(round) = field("STORAGE_NODE_LEAVING:") {
        return format!("leaving: weighs nothing from round {round} on; once more ten rounds later pays the stake");
    }
    let raw = field("STORAGE_NODE_UNREGISTERED:").and_then(|raw| raw.parse().ok());
    let stake = raw.map_or_else(|| "the".to_string(), |raw| format!("{} MAS of", Amount::from_raw(raw)));
    format!("left: {stake} stake was paid")
}

pub(super) fn register(
    arguments: &RegisterArguments,
    node: &Node,
    nodes: &NodeArguments,
    wallet: &Path,
) -> Result<ExecutedReport, NodeCommandError> {
    let operator = Operator::new(&arguments.operator, node, wallet)?;
    let identity = if arguments.without_identity {
        None
    } else {
        let identity = operator.identity(&Node::private(nodes)?, arguments.listener.clone())?;
        Some(with_known_listeners(identity, node)?)
    };
    operator.register(&Registration {
        allocated_gb: arguments.gb,
        stake: arguments.stake,
        retention_periods: arguments.retention_periods,
        identity,
    })
}

/// Where nobody said how the node is reached, what the node itself says.
fn with_known_listeners(mut identity: Identity, node: &Node) -> Result<Identity, NodeCommandError> {
    let mut after = None;
    for _ in 0..NODE_PAGES_MAX {
        if !identity.listeners.is_empty() {
            break;
        }
        let limit = MAX_LIST_LIMIT;
        let nodes = node.call(|client| client.get_storage_nodes(Some(ListNodes { after, limit })))?;
        let own = nodes.iter().find(|info| info.node_id == identity.node_id);
        if let Some(own) = own {
            identity.listeners = own.listeners.clone();
            break;
        }
        match nodes.last() {
            Some(last) if nodes.len() as u64 == limit => after = Some(last.node_id),
            _ => break,
        }
    }
    Ok(identity)
}

pub(super) fn update(
    arguments: &UpdateArguments,
    node: &Node,
    wallet: &Path,
) -> Result<ExecutedReport, NodeCommandError> {
    Operator::new(&arguments.operator, node, wallet)?.update(arguments.gb, arguments.add_stake)
}

pub(super) fn unregister(
    arguments: &OperatorArguments,
    node: &Node,
    wallet: &Path,
) -> Result<ExecutedReport, NodeCommandError> {
    Operator::new(arguments, node, wallet)?.unregister()
}

pub(super) fn claim_rewards(
    arguments: &OperatorArguments,
    node: &Node,
    wallet: &Path,
) -> Result<ExecutedReport, NodeCommandError> {
    Operator::new(arguments, node, wallet)?.claim_rewards()
}

pub(super) fn fund(arguments: &FundArguments, node: &Node, wallet: &Path) -> Result<ExecutedReport, NodeCommandError> {
    Operator::new(&arguments.operator, node, wallet)?.fund(arguments.amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator() -> Address {
        "AU12oTkuZgcxV2wiQV7gc92DNXwW6RYP3A59NgnshdEJjCkrYiBc4".parse().unwrap()
    }

    #[test]
    fn the_storage_of_a_registration_covers_its_three_entries() {
        let address = operator().to_string().len() as u64;
        let without = registration_storage(&operator(), &Registration::default());
        assert_eq!(
            without.to_raw(),
            (5 + address + 592 + 4 + 4 + 6 + 20 + address + 4) * 100_000
        );
        let node_id: NodeId = "N1joj3WoS3wZkFoy5834BZzjT62kRyQoMi4TJ9jyE1rRp9DbCC6".parse().unwrap();
        let registration = Registration {
            identity: Some(Identity {
                node_id,
                listeners: vec!["127.0.0.1:31244".parse().unwrap()],
                signature: String::new(),
            }),
            ..Registration::default()
        };
        let id = node_id.to_string().len() as u64;
        let more = registration_storage(&operator(), &registration).saturating_sub(without);
        assert_eq!(more.to_raw(), (id + 15 + 4 + id + address + 4) * 100_000);
    }

    #[test]
    fn leaving_and_having_left_are_told_apart() {
        let events = |text: &str| vec![text.to_string()];
        let leaving = unregistered_text(&events("STORAGE_NODE_LEAVING:AU1,7"));
        assert!(leaving.contains("from round 7 on"), "{leaving}");
        let left = unregistered_text(&events("STORAGE_NODE_UNREGISTERED:AU1,2000000000"));
        assert_eq!(left, "left: 2 MAS of stake was paid");
    }
}
