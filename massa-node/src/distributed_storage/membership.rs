//! Why no chunk is assigned to this node, or why it does not count in full: from the registry's record of it.

use massa_distributed_storage_worker::rounds::thread::{NOT_REGISTERED, NO_PLACEMENT_KEY};
use massa_distributed_storage_worker::smart_contract::state::NodeRecord;
use massa_models::address::Address;

/// What decides whether this node counts.
pub(super) struct Membership<'a> {
    /// The registry that is followed.
    pub registry: Option<Address>,
    /// Who signs for this node.
    pub operator: Option<Address>,
    /// The registry's record of it.
    pub record: Option<&'a NodeRecord>,
    /// Whether that could not be read.
    pub is_unreadable: bool,
    /// The round that is open in final state.
    pub round: u64,
    /// From this round on flags of being filled count.
    pub flags_from: Option<u64>,
    /// Whether this node is in the set by which chunks are placed now.
    pub is_placed: bool,
}

impl Membership<'_> {
    /// What the operator should know; nothing for a node that counts in full.
    pub fn reasons(&self) -> Vec<String> {
        match (self.registry, self.operator, self.record) {
            (None, _, _) if self.is_placed => Vec::new(),
            (None, _, _) => {
                vec!["there is no registry yet, and the genesis file does not list this node: no chunk is assigned to it".into()]
            }
            (Some(_), None, _) => {
                vec!["nobody signs for this node: operator_address is empty, and so is the staking wallet".into()]
            }
            (Some(_), Some(_), None) if self.is_unreadable => Vec::new(),
            (Some(_), Some(_), None) => vec![NOT_REGISTERED.into()],
            (Some(_), Some(_), Some(record)) => self.of_record(record),
        }
    }

    fn of_record(&self, record: &NodeRecord) -> Vec<String> {
        let round = self.round;
        if let Some(leave) = record.leave_round {
            return vec![if round < leave {
                format!("this node leaves: from round {leave} on no chunk is assigned to it")
            } else {
                format!("this node has left: since round {leave} no chunk is assigned to it")
            }];
        }
        if record.placement_key.is_none() {
            return vec![NO_PLACEMENT_KEY.into()];
        }
        if record.lapsed_at(round) {
            let last = record.last_counted_round;
            let claims = match record.no_claim_before_round {
                until if until > round => format!("from round {until} on"),
                _ => "by itself".into(),
            };
            return vec![format!(
                "this node is registered and has lapsed: its last counted round is {last}; it claims again {claims}, and \
                 counts two rounds after it proved that"
            )];
        }
        if record.declared_at(round) == 0 {
            let from = record.weight_from_round;
            return vec![format!(
                "this node is registered: its allocation counts from round {from} on"
            )];
        }
        let mut reasons = Vec::new();
        if !self.is_placed {
            reasons.push("this node is registered and counts: chunks are placed on it with the next round".into());
        }
        if record.no_claim_before_round > round {
            let until = record.no_claim_before_round;
            reasons.push(format!(
                "this node sits out until round {until}: silent, or in the minority"
            ));
        }
        if !record.filled_at(self.flags_from, round) {
            reasons.push(
                "this node is not filled yet: it has not proved 9/10 of its share, so others hold that, too".into(),
            );
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_models::amount::Amount;
    use massa_signature::KeyPair;

    const REGISTRY: &str = "AS12UMSUxgpRBB6ArZDJ19arHoxNkkpdfofQGekAiAJqsuE6PEFJy";

    fn record() -> NodeRecord {
        NodeRecord {
            address: Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key()),
            placement_key: Some([1; 32]),
            index: 0,
            registered_period: 0,
            stake: Amount::from_raw(1),
            weight_now: 10,
            weight_next: 10,
            weight_from_round: 0,
            leave_round: None,
            last_counted_round: 20,
            lapsed_from: 0,
            lapsed_until: 0,
            filled_from: 0,
            filled_to: u64::MAX,
            entry_round: Some(2),
            entry_stake: Amount::from_raw(1),
            no_claim_before_round: 0,
            total_draws: 0,
            passed_draws: 0,
            last_challenged_period: 0,
            matured_rewards: Amount::zero(),
            retention_periods: 0,
            votes_round: None,
            voted_below_segment: 0,
            slots: [None, None, None],
            node_id: String::new(),
            listeners: Vec::new(),
        }
    }

    fn reasons(change: impl FnOnce(&mut NodeRecord), is_placed: bool) -> Vec<String> {
        let mut record = record();
        change(&mut record);
        let membership = Membership {
            registry: Some(REGISTRY.parse().unwrap()),
            operator: Some(record.address),
            record: Some(&record),
            is_unreadable: false,
            round: 20,
            flags_from: Some(3),
            is_placed,
        };
        membership.reasons()
    }

    #[test]
    fn each_state_of_a_registered_node_has_its_own_reason_and_none_sends_it_to_register() {
        type Change = fn(&mut NodeRecord);
        let cases: [(Change, &str); 9] = [
            (|of| of.leave_round = Some(22), "leaves: from round 22 on"),
            (|of| of.leave_round = Some(20), "has left: since round 20"),
            (|of| of.placement_key = None, "no placement key yet"),
            (
                |of| of.last_counted_round = 11,
                "has lapsed: its last counted round is 11; it claims again by itself",
            ),
            (
                |of| (of.last_counted_round, of.no_claim_before_round) = (11, 23),
                "it claims again from round 23 on",
            ),
            (|of| (of.lapsed_from, of.lapsed_until) = (18, 22), "has lapsed"),
            (
                |of| (of.weight_now, of.weight_from_round) = (0, 22),
                "its allocation counts from round 22 on",
            ),
            (|of| of.no_claim_before_round = 21, "sits out until round 21"),
            (|of| of.filled_to = 0, "not filled yet"),
        ];
        for (change, expected) in cases {
            let told = reasons(change, false).join("; ");
            assert!(told.contains(expected), "{expected}: {told}");
            assert!(
                !told.contains("register:") && !told.contains("storage register"),
                "{told}"
            );
        }
        assert_eq!(reasons(|_| (), true), Vec::<String>::new());
        assert_eq!(reasons(|_| (), false).len(), 1);
    }

    #[test]
    fn without_a_record_it_is_said_what_is_missing() {
        let of = |registry: bool, operator: bool, is_unreadable: bool, is_placed: bool| {
            let membership = Membership {
                registry: registry.then(|| REGISTRY.parse().unwrap()),
                operator: operator.then(|| record().address),
                record: None,
                is_unreadable,
                round: 20,
                flags_from: None,
                is_placed,
            };
            membership.reasons().join("; ")
        };
        assert!(of(false, true, false, false).contains("genesis file does not list this node"));
        assert_eq!(of(false, true, false, true), "");
        assert!(of(true, false, false, false).contains("operator_address"));
        assert_eq!(of(true, true, false, false), NOT_REGISTERED);
        // The error itself is told.
        assert_eq!(of(true, true, true, false), "");
    }
}
