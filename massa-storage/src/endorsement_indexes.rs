//! How endorsements are found.

use crate::owned_objects::by_key::{link, unlink};
use crate::owned_objects::ObjectIndexes;
use massa_models::address::Address;
use massa_models::endorsement::{EndorsementId, SecureShareEndorsement};
use massa_models::prehash::{PreHashMap, PreHashSet};

/// All stored endorsements, by id and creator.
#[derive(Default)]
pub struct EndorsementIndexes {
    endorsements: PreHashMap<EndorsementId, SecureShareEndorsement>,
    by_creator: PreHashMap<Address, PreHashSet<EndorsementId>>,
}

impl EndorsementIndexes {
    /// The endorsement of that id.
    pub fn get(&self, id: &EndorsementId) -> Option<&SecureShareEndorsement> {
        self.endorsements.get(id)
    }

    /// Whether the endorsement is stored.
    pub fn contains(&self, id: &EndorsementId) -> bool {
        self.endorsements.contains_key(id)
    }

    /// The endorsements of one creator; `None` if there are none.
    pub fn get_endorsements_created_by(&self, address: &Address) -> Option<&PreHashSet<EndorsementId>> {
        self.by_creator.get(address)
    }
}

impl ObjectIndexes for EndorsementIndexes {
    type Id = EndorsementId;
    type Object = SecureShareEndorsement;

    fn id_of(endorsement: &SecureShareEndorsement) -> EndorsementId {
        endorsement.id
    }

    fn insert(&mut self, endorsement: SecureShareEndorsement) {
        link(
            &mut self.by_creator,
            endorsement.content_creator_address,
            endorsement.id,
        );
        self.endorsements.insert(endorsement.id, endorsement);
    }

    fn remove(&mut self, id: &EndorsementId) -> Option<SecureShareEndorsement> {
        let endorsement = self.endorsements.remove(id)?;
        unlink(&mut self.by_creator, &endorsement.content_creator_address, id);
        Some(endorsement)
    }
}
