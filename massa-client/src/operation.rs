//! Signing an operation, sending it, and waiting for what becomes of it.
//!
//! Used by `send`, by `sc …` and by the commands of the registry; also by the local network, which deploys its registry with
//! it. An operation has no nonce: two with the same content are one. That is found before it is sent, because its second
//! sending would look like a success.

use crate::node::{Node, NodeCommandError};
use crate::output::progress_bar;
use massa_api_exports::execution::{EventFilter, SCOutputEvent};
use massa_api_exports::node::NodeStatus;
use massa_api_exports::operation::{OperationInfo, OperationInput};
use massa_api_exports::rpc::MassaRpcClient;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::CHAINID;
use massa_models::operation::{Operation, OperationId, OperationType};
use massa_models::slot::Slot;
use massa_wallet::Wallet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Periods that a block may take to be final, and that one may be waited for after the last block that may include the
/// operation.
const FINALITY_PERIODS: u64 = 8;
/// Time for a busy node, however short its periods are.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the node is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// What is drawn while waiting.
const PROGRESS: &str = "{spinner} waiting until operation {msg} is final: {pos} of at most {len} s";

/// A wallet with keys. One that is not there is not made.
///
/// # Errors
/// [`NodeCommandError::EmptyWallet`], [`NodeCommandError::Wallet`].
pub fn open_wallet(path: &Path, chain_id: Option<u64>) -> Result<Wallet, NodeCommandError> {
    let empty = || NodeCommandError::EmptyWallet(path.display().to_string());
    if !path.exists() {
        return Err(empty());
    }
    // Keys belong to no chain; only operations do.
    let wallet = Wallet::new(path.to_path_buf(), chain_id.unwrap_or(*CHAINID))?;
    if wallet.get_addresses().is_empty() {
        return Err(empty());
    }
    Ok(wallet)
}

/// Who signs operations, and the node they are sent to.
pub struct Signer<'a> {
    node: &'a Node,
    wallet: Wallet,
    from: Address,
    status: NodeStatus,
}

/// An operation that a node took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its id.
    pub id: OperationId,
    /// What the producer of its block gets.
    pub fee: Amount,
    /// The last period whose blocks may include it.
    pub expire_period: u64,
}

impl<'a> Signer<'a> {
    /// Asks the node for its chain, and looks for the key of `from`.
    ///
    /// # Errors
    /// [`NodeCommandError::NoKey`], [`NodeCommandError::EmptyWallet`], [`NodeCommandError::Wallet`],
    /// [`NodeCommandError::Node`].
    pub fn new(node: &'a Node, wallet: &Path, from: Address) -> Result<Self, NodeCommandError> {
        let status = node.call(|client| client.get_status())?;
        let keys = open_wallet(wallet, Some(status.chain_id))?;
        if keys.find_associated_keypair(&from).is_none() {
            return Err(NodeCommandError::NoKey {
                wallet: wallet.display().to_string(),
                address: from,
            });
        }
        Ok(Self {
            node,
            wallet: keys,
            from,
            status,
        })
    }

    /// The node.
    pub fn node(&self) -> &'a Node {
        self.node
    }

    /// Who signs.
    pub fn from(&self) -> Address {
        self.from
    }

    /// The chain.
    pub fn chain_id(&self) -> u64 {
        self.status.chain_id
    }

    /// The fee that is paid: the one given, or the least that the node takes.
    ///
    /// # Errors
    /// [`NodeCommandError::Argument`] if the one given is less than that.
    pub fn fee(&self, given: Option<Amount>) -> Result<Amount, NodeCommandError> {
        let minimal = self.status.minimal_fees;
        match given {
            Some(fee) if fee < minimal => {
                let reason = format!("{fee} is less than what the node takes at least, {minimal}");
                Err(NodeCommandError::Argument { field: "--fee", reason })
            }
            given => Ok(given.unwrap_or(minimal)),
        }
    }

    /// Signs and sends.
    ///
    /// # Errors
    /// [`NodeCommandError::SentBefore`], [`NodeCommandError::Node`], [`NodeCommandError::Answer`],
    /// [`NodeCommandError::Wallet`].
    pub fn send(&self, op: OperationType, fee: Amount) -> Result<Sent, NodeCommandError> {
        let content = Operation {
            fee,
            expire_period: expire_period(&self.status),
            op,
        };
        let expire_period = content.expire_period;
        let signed = self.wallet.create_operation(content, self.from)?;
        let id = signed.id;
        if self.info(id)?.is_some() {
            return Err(NodeCommandError::SentBefore(id));
        }
        let input = OperationInput {
            creator_public_key: signed.content_creator_pub_key,
            signature: signed.signature,
            serialized_content: signed.serialized_data,
        };
        let ids = self.node.call(|client| client.send_operations(vec![input]))?;
        if ids != [id] {
            return Err(NodeCommandError::answer("operation id", id, format!("{ids:?}")));
        }
        Ok(Sent { id, fee, expire_period })
    }

    /// Waits until the operation is executed by a final block, and gives what contracts said. Without `seconds`, as long as
    /// a block may include it. On a terminal, a line shows for how long.
    ///
    /// # Errors
    /// [`NodeCommandError::Failed`] if it was executed and failed, [`NodeCommandError::NotFinal`] if time is up,
    /// [`NodeCommandError::Node`].
    pub fn wait_final(&self, sent: &Sent, seconds: Option<u64>) -> Result<Vec<SCOutputEvent>, NodeCommandError> {
        let timeout = seconds.map_or_else(|| self.final_timeout(sent), Duration::from_secs);
        let bar = progress_bar(timeout.as_secs(), PROGRESS).with_message(short(&sent.id));
        let begin = Instant::now();
        let status = loop {
            let info = self.info(sent.id)?;
            match info.as_ref().and_then(final_status) {
                Some(status) => break status,
                None if begin.elapsed() >= timeout => {
                    return Err(NodeCommandError::NotFinal {
                        operation: sent.id,
                        seconds: timeout.as_secs(),
                        state: state_text(info.as_ref()),
                    })
                }
                None => bar.set_position(begin.elapsed().as_secs()),
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        bar.finish_and_clear();
        let events = self.events(sent.id)?;
        if status {
            return Ok(events);
        }
        Err(NodeCommandError::Failed {
            operation: sent.id,
            reason: failure_reason(&events),
        })
    }

    fn final_timeout(&self, sent: &Sent) -> Duration {
        let now = self.status.last_slot.map_or(0, |slot| slot.period);
        let periods = sent.expire_period.saturating_sub(now) + FINALITY_PERIODS;
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        self.status
            .config
            .t0
            .to_duration()
            .saturating_mul(periods)
            .saturating_add(PATIENCE)
    }

    fn info(&self, id: OperationId) -> Result<Option<OperationInfo>, NodeCommandError> {
        let infos = self.node.call(|client| client.get_operations(vec![id]))?;
        match infos.into_iter().next() {
            Some(info) if info.id != id => Err(NodeCommandError::answer("operation id", id, info.id)),
            info => Ok(info),
        }
    }

    fn events(&self, id: OperationId) -> Result<Vec<SCOutputEvent>, NodeCommandError> {
        let filter = EventFilter {
            original_operation_id: Some(id),
            is_final: Some(true),
            ..EventFilter::default()
        };
        Ok(self.node.call(|client| client.get_filtered_sc_output_event(filter))?)
    }
}

/// One less than what is allowed: the node's clock may be a period behind the producer's.
fn expire_period(status: &NodeStatus) -> u64 {
    let period = status.last_slot.unwrap_or(Slot::new(0, 0)).period;
    let validity = status.config.operation_validity_periods.saturating_sub(1);
    period.saturating_add(validity)
}

/// Whether a final execution succeeded; `None` while there is none.
fn final_status(info: &OperationInfo) -> Option<bool> {
    info.op_exec_status.filter(|_| info.is_operation_final == Some(true))
}

fn state_text(info: Option<&OperationInfo>) -> &'static str {
    match info {
        None => "the node does not know it",
        Some(info) if info.op_exec_status.is_some() => "it was executed by a block that is not final",
        Some(info) if !info.in_blocks.is_empty() => "a block includes it",
        Some(_) => "no block includes it",
    }
}

/// Why an operation failed, from what was said of it.
fn failure_reason(events: &[SCOutputEvent]) -> String {
    let failure = events.iter().rev().find(|event| event.context.is_error);
    failure.map_or_else(
        || "the node does not say why".to_string(),
        |event| {
            let object: Option<serde_json::Value> = serde_json::from_str(&event.data).ok();
            let text = object
                .as_ref()
                .and_then(|object| object["massa_execution_error"].as_str());
            contract_reason(text.unwrap_or(&event.data))
        },
    )
}

/// What a contract says, out of what its host says: without where in the source it was said, and what the host put before.
pub fn contract_reason(text: &str) -> String {
    let end = text.rfind(" col: ").and_then(|column| text[..column].rfind(" at "));
    let text = &text[..end.unwrap_or(text.len())];
    let begin = end
        .and_then(|_| text.rfind("error: "))
        .map_or(0, |at| at + "error: ".len());
    text[begin..].trim().to_string()
}

/// Enough of an operation id to know it.
fn short(id: &OperationId) -> String {
    let text: String = id.to_string().chars().take(10).collect();
    format!("{text}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contracts_reason_is_told_without_where_it_stands_in_the_source() {
        for (said, reason) in [
            (
                "VM Error in CallSC context: VM execution error: RuntimeError: error: already registered at assembly/internals/nodes.ts:36 col: 3",
                "already registered",
            ),
            ("error: stake: at least 5 at a.ts:1 col: 2", "stake: at least 5"),
            ("not enough coins at the sender", "not enough coins at the sender"),
            ("Not enough gas", "Not enough gas"),
            ("", ""),
        ] {
            assert_eq!(contract_reason(said), reason);
        }
    }

    #[test]
    fn the_progress_line_can_be_drawn() {
        let bar = progress_bar(5, PROGRESS).with_message("O1abc…");
        bar.set_position(3);
        bar.finish_and_clear();
    }
}
