//! How operations are found.

use crate::owned_objects::by_key::{link, unlink};
use crate::owned_objects::ObjectIndexes;
use massa_models::address::Address;
use massa_models::operation::{OperationId, OperationPrefixId, SecureShareOperation};
use massa_models::prehash::{PreHashMap, PreHashSet};

/// All stored operations, by id, creator and id prefix.
#[derive(Default)]
pub struct OperationIndexes {
    operations: PreHashMap<OperationId, SecureShareOperation>,
    by_creator: PreHashMap<Address, PreHashSet<OperationId>>,
    by_prefix: PreHashMap<OperationPrefixId, PreHashSet<OperationId>>,
}

impl OperationIndexes {
    /// The operation of that id.
    pub fn get(&self, id: &OperationId) -> Option<&SecureShareOperation> {
        self.operations.get(id)
    }

    /// Whether the operation is stored.
    pub fn contains(&self, id: &OperationId) -> bool {
        self.operations.contains_key(id)
    }

    /// The operations of one creator; `None` if there are none.
    pub fn get_operations_created_by(&self, address: &Address) -> Option<&PreHashSet<OperationId>> {
        self.by_creator.get(address)
    }

    /// The operations whose id begins with `prefix`, which is how peers announce them; `None` if there are none.
    pub fn get_operations_by_prefix(&self, prefix: &OperationPrefixId) -> Option<&PreHashSet<OperationId>> {
        self.by_prefix.get(prefix)
    }
}

impl ObjectIndexes for OperationIndexes {
    type Id = OperationId;
    type Object = SecureShareOperation;

    fn id_of(operation: &SecureShareOperation) -> OperationId {
        operation.id
    }

    fn insert(&mut self, operation: SecureShareOperation) {
        link(&mut self.by_creator, operation.content_creator_address, operation.id);
        link(&mut self.by_prefix, operation.id.prefix(), operation.id);
        self.operations.insert(operation.id, operation);
    }

    fn remove(&mut self, id: &OperationId) -> Option<SecureShareOperation> {
        let operation = self.operations.remove(id)?;
        unlink(&mut self.by_creator, &operation.content_creator_address, id);
        unlink(&mut self.by_prefix, &id.prefix(), id);
        Some(operation)
    }
}
