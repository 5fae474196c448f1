//! Sets damaged files aside, so that the rest of a store can be opened.
//!
//! Killed at any instant, the next start finds either the damage or what was done about it. Nothing is deleted but the
//! oldest of what was set aside before.

use crate::storage_backend::database::damage::{DamageReport, Loss};
use crate::storage_backend::database::error::{io_error, DatabaseError};
use crate::storage_backend::database::files::{
    file_kind, kept_manifest_name, log_name, logs_in, manifest_name, names_in, sync_directory, table_name, write_file,
    FileKind, CURRENT, LOGS, SET_ASIDE, STORE, SUSPECTS,
};
use crate::storage_backend::database::gauge::disk_usage;
use crate::storage_backend::database::inspect::{inspect, marker, read_manifest, Finding, Inspection, Read};
use crate::storage_backend::database::log_file::encode_record;
use crate::storage_backend::database::manifest::{without_table, Manifest};
use crate::storage_backend::database::witness::WITNESS;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Directories of damaged files that are kept.
const SET_ASIDE_MAX: usize = 3;
/// Rounds of inspecting and putting right: what is behind a damaged MANIFEST shows only once it is whole.
const ROUNDS: usize = 4;

/// What putting a store right came to.
pub(crate) struct PutRight {
    pub(crate) reports: Vec<DamageReport>,
    /// Nothing is left: a new store is to be made.
    pub(crate) empty: bool,
}

/// Puts a store right after `findings`, which are those of its inspection and maybe more.
pub(crate) fn put_right(
    store: &Path,
    mut inspection: Inspection,
    unix_seconds: u64,
) -> Result<PutRight, DatabaseError> {
    let aside = Aside::new(store, unix_seconds)?;
    let mut reports = Vec::new();
    for _ in 0..ROUNDS {
        if inspection.findings.is_empty() {
            break;
        }
        let metadata = inspection
            .findings
            .iter()
            .any(|finding| matches!(finding, Finding::Current(_) | Finding::Manifest { .. }));
        if metadata {
            let restored = restore_manifest(store, &aside, &inspection)?;
            if restored.empty {
                reports.extend(restored.reports);
                return Ok(PutRight { reports, empty: true });
            }
            reports.extend(restored.reports);
        } else {
            reports.extend(put_tables_right(store, &aside, &inspection)?);
            reports.extend(put_logs_right(store, &aside, &inspection)?);
            reports.extend(put_notes_right(store, &inspection, unix_seconds)?);
            if inspection
                .findings
                .iter()
                .all(|finding| matches!(finding, Finding::Witness(_)))
            {
                // It is written anew when the database is open.
                break;
            }
        }
        inspection = inspect(store)?;
        inspection
            .findings
            .retain(|finding| !matches!(finding, Finding::Witness(_)));
    }
    Ok(PutRight { reports, empty: false })
}

/// Sets everything aside: for damages that nothing else helps against.
pub(crate) fn set_all_aside(
    store: &Path,
    file: &str,
    what: &str,
    unix_seconds: u64,
) -> Result<DamageReport, DatabaseError> {
    Aside::new(store, unix_seconds)?.everything(DamageReport::new(file, what, Loss::All))
}

/// Where damaged files go.
struct Aside {
    store: PathBuf,
    directory: PathBuf,
    name: String,
}

impl Aside {
    fn new(store: &Path, unix_seconds: u64) -> Result<Self, DatabaseError> {
        let names = names_in(store)?;
        let mut name = format!("{SET_ASIDE}{unix_seconds}");
        let mut again = 1;
        while names.contains(&name) {
            again += 1;
            name = format!("{SET_ASIDE}{unix_seconds}-{again}");
        }
        Ok(Self {
            store: store.to_path_buf(),
            directory: store.join(&name),
            name,
        })
    }

    /// Moves a file aside, if it is there.
    fn take(&self, file: &str) -> Result<bool, DatabaseError> {
        let (from, to) = self.paths_of(file)?;
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            moved => moved.map(|()| true).map_err(io_error("move", &from)),
        }
    }

    /// Copies a file aside, if it is there; it is then replaced at one blow.
    fn copy(&self, file: &str) -> Result<bool, DatabaseError> {
        let (from, to) = self.paths_of(file)?;
        match fs::copy(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            copied => copied.map(|_| true).map_err(io_error("copy", &from)),
        }
    }

    fn paths_of(&self, file: &str) -> Result<(PathBuf, PathBuf), DatabaseError> {
        if !self.directory.exists() {
            fs::create_dir(&self.directory).map_err(io_error("make", &self.directory))?;
            while set_aside(&self.store)?.len() > SET_ASIDE_MAX && delete_oldest_set_aside(&self.store)? {}
        }
        Ok((self.store.join(file), self.directory.join(file.replace('/', "-"))))
    }

    /// The report of a file that was set aside, if it was there.
    fn report(&self, finding: &Finding, there: bool) -> DamageReport {
        let mut report = finding.report();
        report.done = Some(if there {
            format!("it was set aside in {}", self.name)
        } else {
            "the store was opened without it".to_string()
        });
        report
    }

    /// Takes everything that belongs to the store; its marker last, so that a start after a kill finds what is left.
    fn everything(&self, mut report: DamageReport) -> Result<DamageReport, DatabaseError> {
        let names = names_in(&self.store)?;
        let ours =
            |name: &&String| file_kind(name) != FileKind::Other || [LOGS, WITNESS, SUSPECTS].contains(&name.as_str());
        for name in names.iter().filter(ours) {
            self.take(name)?;
        }
        sync_directory(&self.store)?;
        self.take(STORE)?;
        sync_directory(&self.store)?;
        let bytes = disk_usage(&self.directory).map_err(io_error("measure", &self.directory))?;
        report.done = Some(format!(
            "everything, {bytes} bytes, was set aside in {} and a new store was begun",
            self.name
        ));
        Ok(report)
    }
}

/// Names of the directories of damaged files, oldest first.
pub fn set_aside(store: &Path) -> Result<Vec<String>, DatabaseError> {
    let mut names = names_in(store)?;
    names.retain(|name| name.starts_with(SET_ASIDE) && store.join(name).is_dir());
    let age = |name: &String| {
        let mut numbers = name[SET_ASIDE.len()..].split('-');
        let mut number = || numbers.next().and_then(|part| part.parse::<u64>().ok()).unwrap_or(0);
        (number(), number())
    };
    names.sort_by_key(age);
    Ok(names)
}

/// Deletes the oldest of what was set aside; returns whether there was any.
pub fn delete_oldest_set_aside(store: &Path) -> Result<bool, DatabaseError> {
    let Some(oldest) = set_aside(store)?.into_iter().next() else {
        return Ok(false);
    };
    let directory = store.join(oldest);
    fs::remove_dir_all(&directory).map_err(io_error("delete", &directory))?;
    Ok(true)
}

/// Makes MANIFEST and CURRENT again from what is there, or sets everything aside.
fn restore_manifest(store: &Path, aside: &Aside, inspection: &Inspection) -> Result<PutRight, DatabaseError> {
    let damaged = inspection.findings.iter().find_map(|finding| match finding {
        Finding::Manifest { number, .. } => Some(*number),
        _ => None,
    });
    let finding = inspection
        .findings
        .iter()
        .find(|finding| matches!(finding, Finding::Current(_) | Finding::Manifest { .. }));
    let mut report = finding.map_or_else(|| DamageReport::new(CURRENT, "damaged", Loss::All), Finding::report);
    let Some((name, number, bytes)) = usable_manifest(store, inspection)? else {
        let report = aside.everything(report)?;
        return Ok(PutRight {
            reports: vec![report],
            empty: true,
        });
    };
    let path = store.join(&name);
    let mut content = fs::read(&path).map_err(io_error("read", &path))?;
    content.truncate(bytes as usize);
    aside.take(CURRENT)?;
    if let Some(damaged) = damaged {
        aside.take(&manifest_name(damaged))?;
    }
    write_file(store, &manifest_name(number), &content)?;
    write_file(store, CURRENT, format!("{}\n", manifest_name(number)).as_bytes())?;
    report.loss = Loss::Nothing;
    report.done = Some(format!("it was set aside in {} and made again from {name}", aside.name));
    Ok(PutRight {
        reports: vec![report],
        empty: false,
    })
}

/// A MANIFEST, or a copy of one, that is whole and whose tables are there: name, number and whole bytes.
fn usable_manifest(store: &Path, inspection: &Inspection) -> Result<Option<(String, u64, u64)>, DatabaseError> {
    let mut numbers = Vec::new();
    for name in names_in(store)? {
        if let FileKind::Manifest(number) | FileKind::KeptManifest(number) = file_kind(&name) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    // The newest tells of the most tables; what an older one leaves out is only known to be nothing when it was noted so.
    for number in numbers.into_iter().rev() {
        for name in [manifest_name(number), kept_manifest_name(number)] {
            let read = read_manifest(store, &name, number, inspection.note.as_ref())?;
            if let Read::Whole(manifest, bytes) = read {
                if has_its_tables(store, &manifest) {
                    return Ok(Some((name, number, bytes)));
                }
            }
        }
    }
    Ok(None)
}

/// Whether at least nine of ten tables are there: the others are then damages of their own. A MANIFEST that is too old to
/// be used lacks most.
fn has_its_tables(store: &Path, manifest: &Manifest) -> bool {
    let there = manifest.tables.iter().filter(|(number, entry)| {
        let metadata = fs::metadata(store.join(table_name(**number)));
        metadata.is_ok_and(|metadata| metadata.len() == entry.bytes)
    });
    there.count() * 10 >= manifest.tables.len() * 9
}

/// Takes damaged tables out of the store: an edit is added to the MANIFEST by which they no longer belong to it.
fn put_tables_right(store: &Path, aside: &Aside, inspection: &Inspection) -> Result<Vec<DamageReport>, DatabaseError> {
    let mut reports = Vec::new();
    let Some((manifest, _)) = &inspection.manifest else {
        return Ok(reports);
    };
    let mut at = inspection.manifest_bytes;
    let mut edits = Vec::new();
    for finding in &inspection.findings {
        if let Finding::Table { number, entry, .. } = finding {
            let edit = encode_record(at, &without_table(*number, entry));
            at += edit.len() as u64;
            edits.extend(edit);
            let there = aside.take(&table_name(*number))?;
            reports.push(aside.report(finding, there));
        }
    }
    if reports.is_empty() {
        return Ok(reports);
    }
    let path = store.join(manifest_name(*manifest));
    let append = || -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(&path)?;
        // A torn record at the end would hide what follows.
        file.set_len(inspection.manifest_bytes)?;
        file.write_all(&edits)?;
        file.sync_all()
    };
    append().map_err(io_error("write", &path))?;
    aside.take(SUSPECTS)?;
    sync_directory(store)?;
    Ok(reports)
}

/// Keeps what is whole of the first damaged log, and nothing of later ones: the store is then one of an earlier moment.
fn put_logs_right(store: &Path, aside: &Aside, inspection: &Inspection) -> Result<Vec<DamageReport>, DatabaseError> {
    let damaged = inspection.findings.iter().filter_map(|finding| match finding {
        Finding::Log {
            number, whole_bytes, ..
        } => Some((*number, *whole_bytes, finding)),
        _ => None,
    });
    let Some((first, whole_bytes, finding)) = damaged.min_by_key(|(number, _, _)| *number) else {
        return Ok(Vec::new());
    };
    let path = store.join(log_name(first));
    let mut whole = if path.exists() {
        fs::read(&path).map_err(io_error("read", &path))?
    } else {
        Vec::new()
    };
    whole.truncate(whole_bytes as usize);
    let mut reports = Vec::new();
    // The later ones first: killed in between, the damage is still seen.
    for (number, bytes) in logs_in(store)?.into_iter().rev().filter(|(number, _)| *number > first) {
        let later = Finding::Log {
            number,
            whole_bytes: 0,
            what: format!("{bytes} bytes follow the damage in {}", log_name(first)),
        };
        let there = aside.take(&log_name(number))?;
        reports.push(aside.report(&later, there));
    }
    let there = aside.copy(&log_name(first))?;
    reports.push(aside.report(finding, there));
    reports.reverse();
    write_file(&store.join(LOGS), &format!("{first:06}.log"), &whole)?;
    // It tells of bytes that are gone now; the next is written when the database is open.
    aside.take(WITNESS)?;
    sync_directory(store)?;
    Ok(reports)
}

/// The marker is written again; the witness is when the database is open.
fn put_notes_right(
    store: &Path,
    inspection: &Inspection,
    unix_seconds: u64,
) -> Result<Vec<DamageReport>, DatabaseError> {
    let mut reports = Vec::new();
    for finding in &inspection.findings {
        let mut report = finding.report();
        match finding {
            Finding::Marker(_) => write_file(store, STORE, marker(unix_seconds).as_bytes())?,
            Finding::Witness(_) => {}
            _ => continue,
        }
        report.done = Some("it was written again".to_string());
        reports.push(report);
    }
    Ok(reports)
}
