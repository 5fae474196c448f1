//! `massa-cli archive list-periods`.

use crate::archive::open_periods::{open_periods, OpenPeriod};
use crate::archive::stat::chunks_kept;
use crate::archive::{ArchiveError, StoreArguments};
use crate::output::{table, Report};
use clap::Args;
use massa_distributed_storage_exports::PeriodRoot;
use massa_distributed_storage_worker::ingest::restore;
use massa_distributed_storage_worker::storage_backend::read::ReadError;
use massa_distributed_storage_worker::Store;
use serde::Serialize;

/// Arguments of `archive list-periods`.
#[derive(Debug, Args)]
pub struct ListPeriodsArguments {
    /// The store.
    #[command(flatten)]
    pub store: StoreArguments,
    /// First period to list.
    #[arg(long, value_name = "PERIOD", default_value_t = 0)]
    pub from: u64,
    /// Last period to list.
    #[arg(long, value_name = "PERIOD", default_value_t = u64::MAX, hide_default_value = true)]
    pub to: u64,
}

/// The periods of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListPeriodsReport {
    /// Archived periods.
    pub periods: Vec<ListedPeriod>,
    /// Periods that are not complete.
    pub open_periods: Vec<OpenPeriod>,
}

/// An archived period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedPeriod {
    /// The period.
    pub period: u64,
    /// Its blocks.
    pub blocks: usize,
    /// Its missed slots.
    pub misses: usize,
    /// Its chunks.
    pub chunks: usize,
    /// Those that this node keeps.
    pub chunks_kept: usize,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// Its root.
    pub root: PeriodRoot,
    /// Whether it is lost: ids without blocks.
    pub lost: bool,
}

impl Report for ListPeriodsReport {
    fn text(&self) -> String {
        let headings = ["period", "blocks", "missed", "chunks", "kept", "bytes", "root"];
        let row = |period: &ListedPeriod| {
            vec![
                period.period.to_string(),
                period.blocks.to_string(),
                period.misses.to_string(),
                period.chunks.to_string(),
                period.chunks_kept.to_string(),
                if period.lost {
                    "lost".to_string()
                } else {
                    period.body_bytes.to_string()
                },
                period.root.to_string(),
            ]
        };
        let periods = table(headings, self.periods.iter().map(row));
        let open = self.open_periods.iter().map(OpenPeriod::text);
        std::iter::once(periods).chain(open).collect::<Vec<_>>().join("\n")
    }
}

/// Lists the periods of a store: reads their manifests.
///
/// # Errors
/// [`ArchiveError`].
pub fn list_periods(arguments: &ListPeriodsArguments) -> Result<ListPeriodsReport, ArchiveError> {
    let store = arguments.store.open()?;
    let asked = arguments.from..=arguments.to;
    let archived = store
        .archived_periods()?
        .into_iter()
        .filter(|period| asked.contains(period));
    let periods = archived
        .map(|period| listed(&store, period))
        .collect::<Result<_, _>>()?;
    let mut open_periods = open_periods(&store, &restore(&store)?)?;
    open_periods.retain(|open| asked.contains(&open.period));
    Ok(ListPeriodsReport { periods, open_periods })
}

fn listed(store: &Store, period: u64) -> Result<ListedPeriod, ReadError> {
    let manifest = store.archived_manifest(period)?;
    let blocks = manifest
        .places
        .iter()
        .filter(|place| place.block_id().is_some())
        .count();
    let kept = chunks_kept(store, &manifest)?;
    Ok(ListedPeriod {
        period,
        blocks,
        misses: manifest.places.len() - blocks,
        chunks: kept.len(),
        chunks_kept: kept.iter().filter(|kept| **kept).count(),
        body_bytes: manifest.header.body_length,
        root: manifest.root(),
        lost: manifest.is_lost(),
    })
}
