//! What was found damaged, and what was done about it.

use std::fmt;

/// How much the store may lack after a damage: decides how much the layer above has to check and fetch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing: what was damaged could be made again from what is there.
    Nothing,
    /// Everything written after some moment; what is older is whole.
    Recent,
    /// Any rows: of a table that is gone. Rows that were deleted may be back.
    Rows,
    /// Everything.
    All,
}

/// One damaged file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageReport {
    /// Name of the file, seen from the store's directory.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
    /// What was done, if anything was.
    pub done: Option<String>,
    /// What the store may lack.
    pub loss: Loss,
}

impl DamageReport {
    /// A damage that nothing was done about yet.
    pub(crate) fn new(file: impl Into<String>, what: impl Into<String>, loss: Loss) -> Self {
        Self {
            file: file.into(),
            what: what.into(),
            done: None,
            loss,
        }
    }

    /// What the operator should do.
    pub fn advice(&self) -> &'static str {
        match (&self.done, self.loss) {
            (None, Loss::Nothing) => "start the node, which puts it right",
            (None, _) => "restore the file from a backup, or start the node, which sets it aside and fetches what is lost from peers",
            (Some(_), Loss::Nothing) => "check the disk; nothing else is to do",
            (Some(_), _) => "check the disk; what is lost is fetched from peers, and what was set aside may be deleted",
        }
    }
}

impl fmt::Display for DamageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)?;
        if let Some(done) = &self.done {
            write!(f, "; {done}")?;
        }
        write!(f, " ({})", self.advice())
    }
}
