//! The bytes of a period: its entry, then its blocks, as they are joined after they came from peers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_distributed_storage_exports::bytes::Reader;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::{EncodedPeriod, UnsignedRecord};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_proof::check::{check, TrustedRoot};
use massa_distributed_storage_exports::segment_proof::Prover;
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_fuzz::CHAIN_ID;
use massa_models::config::THREAD_COUNT;

fuzz_target!(|bytes: &[u8]| {
    let Ok(entry) = PeriodEntry::read(&mut Reader::new(bytes), THREAD_COUNT) else {
        return;
    };
    let length = entry.length() as usize;
    assert_eq!(entry.to_bytes(), bytes[..length]);
    assert_eq!(
        PeriodEntry::from_bytes(bytes, THREAD_COUNT).is_ok(),
        bytes.len() == length
    );
    check_paths(&entry);
    if entry.is_lost() {
        check_lost(&entry);
    } else if let Some(slots) = records(&entry, bytes) {
        check_whole(&entry, bytes, &slots);
    }
});

fn check_paths(entry: &PeriodEntry) {
    let root = entry.root(CHAIN_ID, 7);
    for thread in 0..THREAD_COUNT {
        let (leaf, path) = entry.prove_slot(CHAIN_ID, 7, thread).expect("each thread has a slot");
        path.verify(leaf.hash(), root.as_bytes())
            .expect("the slot is below the root");
    }
    assert!(entry.prove_slot(CHAIN_ID, 7, THREAD_COUNT).is_none());
}

/// A lost period is its entry, and a lost one with the same ids is the same.
fn check_lost(entry: &PeriodEntry) {
    let ids: Vec<_> = entry.ids().collect();
    assert_eq!(PeriodEntry::lost(&ids).as_ref(), Some(entry));
    let encoded = EncodedPeriod::lost(7, entry.clone());
    assert_eq!(encoded.bytes, entry.to_bytes());
}

/// The blocks, with signatures that differ from object to object; `None` if one of them is none.
fn records(entry: &PeriodEntry, bytes: &[u8]) -> Option<Vec<Option<BlockRecord>>> {
    let length = u32::try_from(bytes.len()).ok()?;
    let slots = entry.slots().iter().zip(0..);
    let record = |thread: u8| {
        let range = entry.block_range(thread, length)?;
        let unsigned = UnsignedRecord::parse(bytes.get(range.start as usize..range.end as usize)?).ok()?;
        let signatures: Vec<_> = (0..unsigned.objects().len())
            .map(|object| [object as u8; SIGNATURE_BYTES])
            .collect();
        let record = unsigned.signed(&signatures).ok()?;
        assert_eq!(record.objects().len(), unsigned.objects().len());
        Some(record)
    };
    slots
        .map(|(slot, thread)| match slot {
            Some(_) => record(thread).map(Some),
            None => Some(None),
        })
        .collect()
}

/// Blocks of one period, whose ids are those of the entry, are encoded to the same bytes, and can be proven.
fn check_whole(entry: &PeriodEntry, bytes: &[u8], slots: &[Option<BlockRecord>]) {
    let views = slots.iter().flatten().map(|record| record.view(THREAD_COUNT));
    let Ok(views) = views.collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let Some(period) = views.first().map(|view| view.slot.period) else {
        return;
    };
    let parameters = ArchiveParameters::new(CHAIN_ID, THREAD_COUNT);
    let given: Vec<Option<&BlockRecord>> = slots.iter().map(Option::as_ref).collect();
    // Refused: a block of another slot.
    let Ok(encoded) = EncodedPeriod::whole(&parameters, period, &given) else {
        return;
    };
    let is_same = encoded.entry == *entry;
    assert_eq!(encoded.bytes == bytes, is_same);
    let ids_are_true = views.iter().map(|view| view.block_id()).eq(entry.ids().flatten());
    assert_eq!(is_same, ids_are_true, "offsets follow from the blocks");
    if is_same {
        check_proof(entry, period, slots);
    }
}

fn check_proof(entry: &PeriodEntry, period: u64, slots: &[Option<BlockRecord>]) {
    let prover = Prover {
        chain_id: CHAIN_ID,
        period,
        entry,
        segment: None,
    };
    let root = TrustedRoot::Period(entry.root(CHAIN_ID, period));
    let document = prover.period().expect("every slot is known");
    check(&document, &root).expect("what is proven can be checked");
    for (slot, thread) in slots.iter().zip(0..) {
        if slot.is_none() {
            let document = prover.miss(thread).expect("the slot was missed");
            check(&document, &root).expect("what is proven can be checked");
        }
    }
}
