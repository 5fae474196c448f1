//! Archive format 2, written a second time from the words of the design, for comparison: nothing of the product's code but BLAKE3.

use std::collections::BTreeMap;

const SIGNATURE: usize = 65;
const LEAF: usize = 1024;
const PAGE: usize = 65_536;

/// A block with its operations, each with its leading signature.
pub type Objects = Vec<Vec<u8>>;

/// What a period is made of.
pub struct PeriodInput {
    pub period: u64,
    pub lost: bool,
    /// By thread.
    pub blocks: BTreeMap<u8, Objects>,
}

/// What a network agrees on.
#[derive(Clone, Copy)]
pub struct Network {
    pub chain_id: u64,
    pub threads: u8,
    pub chunk_size: usize,
}

/// A period's bytes, root and where its objects end.
pub struct PeriodBytes {
    pub bytes: Vec<u8>,
    pub entry: Vec<u8>,
    pub root: [u8; 32],
    pub signatures: Vec<(usize, Vec<u8>)>,
}

/// What is kept of a chunk.
#[derive(Debug, PartialEq)]
pub struct ChunkKept {
    pub bytes: Vec<u8>,
    pub id: [u8; 32],
    /// For each page, (position of the object's last byte in it, signature).
    pub signatures: Vec<Vec<(u16, Vec<u8>)>>,
    /// Period that reaches in, where it begins in the body, its entry.
    pub reaching_in: Option<(u64, u64, Vec<u8>)>,
}

/// A segment.
pub struct SegmentKept {
    pub period_rows: Vec<(u32, [u8; 32])>,
    pub chunks: Vec<ChunkKept>,
    pub body_length: u64,
    pub root: [u8; 32],
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// RFC 6962, section 2.1.
pub fn tree(leaves: &[&[u8]]) -> [u8; 32] {
    match leaves {
        [leaf] => hash(&[&[0], *leaf].concat()),
        _ => {
            let left = leaves.len().next_power_of_two() / 2;
            let halves = [tree(&leaves[..left]), tree(&leaves[left..])].concat();
            hash(&[&[1], &halves[..]].concat())
        }
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            break;
        }
    }
    value
}

/// Version byte and hash of creator key and header.
fn block_id(block: &[u8], threads: u8) -> Vec<u8> {
    let mut at = SIGNATURE + 33;
    varint(block, &mut at);
    at += 1;
    if block[at - 1] == b'1' {
        varint(block, &mut at);
    }
    varint(block, &mut at);
    at += 2;
    if block[at - 1] == 1 {
        at += 33 * usize::from(threads);
    }
    at += 32;
    for _ in 0..varint(block, &mut at) {
        at += SIGNATURE + 33;
        varint(block, &mut at);
    }
    assert_eq!(varint(block, &mut at), 0, "blocks of these tests have no denunciations");
    [&[0], &hash(&block[SIGNATURE..at])[..]].concat()
}

pub fn period_bytes(network: Network, input: &PeriodInput) -> PeriodBytes {
    let entry_length: usize = 1
        + (0..network.threads)
            .map(|thread| match (input.blocks.contains_key(&thread), input.lost) {
                (false, _) => 1,
                (true, false) => 38,
                (true, true) => 34,
            })
            .sum::<usize>();
    let (mut entry, mut blocks, mut signatures) = (vec![u8::from(input.lost)], Vec::new(), Vec::new());
    let mut leaves = vec![[
        &[4][..],
        &network.chain_id.to_le_bytes(),
        &input.period.to_le_bytes(),
        &[network.threads, u8::from(input.lost)],
    ]
    .concat()];
    for thread in 0..network.threads {
        let Some(objects) = input.blocks.get(&thread) else {
            entry.push(0);
            leaves.push(vec![5, thread, 0]);
            continue;
        };
        let id = block_id(&objects[0], network.threads);
        entry.push(1);
        entry.extend(&id);
        leaves.push([&[5, thread, 1], &id[..]].concat());
        if input.lost {
            continue;
        }
        entry.extend(((entry_length + blocks.len()) as u32).to_le_bytes());
        for (number, object) in objects.iter().enumerate() {
            blocks.extend(((object.len() - SIGNATURE) as u32).to_le_bytes());
            blocks.extend(&object[SIGNATURE..]);
            signatures.push((entry_length + blocks.len(), object[..SIGNATURE].to_vec()));
            if number == 0 {
                blocks.extend((objects.len() as u32 - 1).to_le_bytes());
            }
        }
    }
    assert_eq!(entry.len(), entry_length);
    let leaves: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
    PeriodBytes {
        bytes: [&entry[..], &blocks].concat(),
        entry,
        root: tree(&leaves),
        signatures,
    }
}

/// `number` of the segment, bytes of all segments before, root of the one before.
pub fn segment(network: Network, inputs: &[PeriodInput], chain: (u64, u64, [u8; 32])) -> SegmentKept {
    let periods: Vec<PeriodBytes> = inputs.iter().map(|input| period_bytes(network, input)).collect();
    let body: Vec<u8> = periods.iter().flat_map(|period| period.bytes.clone()).collect();
    let chunks: Vec<ChunkKept> = (0..body.len().div_ceil(network.chunk_size))
        .map(|index| chunk(network, inputs, &periods, (index, &body)))
        .collect();
    let (number, before, previous) = chain;
    let mut leaves = vec![[
        &[1, 2][..],
        &network.chain_id.to_le_bytes(),
        &number.to_le_bytes(),
        &inputs[0].period.to_le_bytes(),
        &(inputs.len() as u32).to_le_bytes(),
        &[network.threads],
        &(network.chunk_size as u32).to_le_bytes(),
        &(body.len() as u64).to_le_bytes(),
        &before.to_le_bytes(),
        &previous,
    ]
    .concat()];
    for (input, period) in inputs.iter().zip(&periods) {
        let length = (period.bytes.len() as u32).to_le_bytes();
        leaves.push([&[2][..], &input.period.to_le_bytes(), &length, &period.root].concat());
    }
    for (index, chunk) in chunks.iter().enumerate() {
        let (index, length) = ((index as u32).to_le_bytes(), (chunk.bytes.len() as u32).to_le_bytes());
        leaves.push([&[3][..], &index, &length, &chunk.id].concat());
    }
    let leaves: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
    SegmentKept {
        period_rows: periods
            .iter()
            .map(|period| (period.bytes.len() as u32, period.root))
            .collect(),
        chunks,
        body_length: body.len() as u64,
        root: tree(&leaves),
    }
}

fn chunk(
    network: Network,
    inputs: &[PeriodInput],
    periods: &[PeriodBytes],
    (index, body): (usize, &[u8]),
) -> ChunkKept {
    let start = index * network.chunk_size;
    let end = (start + network.chunk_size).min(body.len());
    let bytes = body[start..end].to_vec();
    let leaves: Vec<&[u8]> = bytes.chunks(LEAF).collect();
    let mut signatures = vec![Vec::new(); bytes.len().div_ceil(PAGE)];
    let (mut reaching_in, mut begins) = (None, 0);
    for (input, period) in inputs.iter().zip(periods) {
        if begins < start && start < begins + period.bytes.len() {
            reaching_in = Some((input.period, begins as u64, period.entry.clone()));
        }
        for (object_end, signature) in &period.signatures {
            let last = begins + object_end - 1;
            if (start..end).contains(&last) {
                signatures[(last - start) / PAGE].push((((last - start) % PAGE) as u16, signature.clone()));
            }
        }
        begins += period.bytes.len();
    }
    ChunkKept {
        id: tree(&leaves),
        bytes,
        signatures,
        reaching_in,
    }
}
