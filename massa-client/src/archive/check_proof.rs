//! `massa-cli archive check-proof`: whether a proof leads to a root.
//!
//! The root comes from somewhere the reader trusts; nothing else is. What is checked is in
//! [`massa_distributed_storage_exports::segment_proof::check`].

use crate::output::{count, name_value_lines, Report};
use clap::{ArgGroup, Args};
use massa_distributed_storage_exports::record::MAX_RECORD_BYTES;
use massa_distributed_storage_exports::segment_proof::check::{check, CheckError, Proven, TrustedRoot};
use massa_distributed_storage_exports::segment_proof::ProofDocument;
use massa_distributed_storage_exports::{PeriodRoot, SegmentRoot};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// Bytes of a document at most: a record twice over, as each byte has two digits, and as much again for the rest.
const DOCUMENT_BYTES_MAX: u64 = 4 * MAX_RECORD_BYTES as u64;

/// Arguments of `archive check-proof`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("trusted").required(true).args(["root", "period_root"])))]
pub struct CheckProofArguments {
    /// The proof, or - for standard input.
    pub file: PathBuf,
    /// The segment root that is trusted: 64 hexadecimal digits.
    #[arg(long, value_name = "ROOT")]
    pub root: Option<SegmentRoot>,
    /// The period root that is trusted, of a period whose segment is not closed: 64 hexadecimal digits.
    #[arg(long, value_name = "ROOT")]
    pub period_root: Option<PeriodRoot>,
    /// The chain that the proof must be of.
    #[arg(long, value_name = "ID")]
    pub chain_id: Option<u64>,
}

/// Why a proof is refused.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum CheckProofError {
    /// The file could not be read.
    #[error("could not read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Larger than any proof.
    #[error("the proof has more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a proof, or one with fields of another kind.
    #[error("not a proof")]
    Document(#[from] serde_json::Error),
    /// The proof is of another chain.
    #[error("chain_id: the proof is of chain {found}, --chain-id says {expected}")]
    OtherChain {
        /// Chain of the document.
        found: u64,
        /// The chain that was given.
        expected: u64,
    },
    /// It does not prove what it says.
    #[error(transparent)]
    Refused(#[from] CheckError),
}

/// What a document proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProvenReport(pub Proven);

impl Report for ProvenReport {
    fn text(&self) -> String {
        let proven = &self.0;
        let mut lines = vec![("proven", statement(proven))];
        lines.extend(proven.block_id.map(|id| ("block", id.to_string())));
        lines.extend(proven.operation_id.map(|id| ("operation", id.to_string())));
        lines.push(("chain id", proven.chain_id.to_string()));
        match &proven.segment {
            Some(segment) => {
                let last = segment.first_period + u64::from(segment.periods).saturating_sub(1);
                let span = format!("{}, periods {} to {last}", segment.segment, segment.first_period);
                lines.extend([("segment", span), ("root", segment.root.to_string())]);
            }
            None => lines.push((
                "segment",
                "open when the proof was made: it ends at the period root".to_string(),
            )),
        }
        lines.extend(proven.period_root.map(|root| ("period root", root.to_string())));
        name_value_lines(lines)
    }
}

fn statement(proven: &Proven) -> String {
    let period = proven.period.unwrap_or_default();
    let slot = proven
        .thread
        .map_or_else(String::new, |thread| format!("{period}:{thread}"));
    match (proven.kind, proven.operations, proven.operation_index) {
        ("miss", ..) => format!("slot {slot} was missed"),
        ("operation", _, Some(index)) => format!("operation {index} of the block of slot {slot}"),
        ("lost", ..) => format!("block of slot {slot}, lost with its period"),
        ("period", ..) => format!("slots of period {period}"),
        ("chunk", ..) => format!("chunk {} of the segment", proven.chunk.unwrap_or_default()),
        (_, Some(operations), _) => {
            let operations = count(operations as u64, "operation", "operations");
            format!("block of slot {slot}, with its {operations}")
        }
        _ => format!("block of slot {slot}, without its operations"),
    }
}

/// Checks the proof in a file.
///
/// # Errors
/// [`CheckProofError`].
pub fn check_proof(arguments: &CheckProofArguments) -> Result<ProvenReport, CheckProofError> {
    let text = read(arguments).map_err(|source| CheckProofError::Read {
        path: arguments.file.clone(),
        source,
    })?;
    if text.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(CheckProofError::TooLarge);
    }
    let segment = arguments.root.map(TrustedRoot::Segment);
    let trusted = segment.or(arguments.period_root.map(TrustedRoot::Period));
    let proven = check_text(&text, &trusted.expect("clap requires a root"))?;
    match arguments.chain_id.filter(|expected| *expected != proven.chain_id) {
        None => Ok(ProvenReport(proven)),
        Some(expected) => Err(CheckProofError::OtherChain {
            found: proven.chain_id,
            expected,
        }),
    }
}

/// One byte more than a document may have, if there are so many.
fn read(arguments: &CheckProofArguments) -> io::Result<Vec<u8>> {
    let input: Box<dyn Read> = if arguments.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&arguments.file)?)
    };
    let mut text = Vec::new();
    input.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Checks a document in JSON.
///
/// # Errors
/// [`CheckProofError`].
pub fn check_text(text: &[u8], trusted: &TrustedRoot) -> Result<Proven, CheckProofError> {
    let document: ProofDocument = serde_json::from_slice(text)?;
    Ok(check(&document, trusted)?)
}
