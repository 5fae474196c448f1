//! Documents: every link leads somewhere, and each is as short as its readers need it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders without documents of this project.
const NOT_OURS: [&str; 4] = [".git", "build", "node_modules", "target"];
/// Bytes that a document has at most.
const SIZES: [(&str, usize); 8] = [
    ("README.md", 12_000),
    ("docs/architecture.md", 22_000),
    ("docs/benchmarks.md", 6_000),
    ("docs/cli.md", 15_000),
    ("docs/glossary.md", 5_000),
    ("docs/limits.md", 5_000),
    ("docs/localnet.md", 6_000),
    ("CONTRIBUTING.md", 5_000),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            if !NOT_OURS.contains(&name.as_str()) {
                documents(&entry.path(), found);
            }
        } else if name.ends_with(".md") {
            found.push(entry.path());
        }
    }
}

/// The text without blocks of code, in which brackets are no links.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Targets of links, as they are written.
fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    let ends = text.split("](").skip(1);
    ends.filter_map(|rest| Some(rest.split_once(')')?.0.to_string()))
        .collect()
}

/// Names by which headings can be linked: lower case, spaces as dashes, other signs left out.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .collect::<Vec<_>>();
    let kept = |sign: &char| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_');
    let name = |heading: &String| heading.chars().filter(kept).collect::<String>().replace(' ', "-");
    headings.iter().map(name).collect()
}

/// Why a link leads nowhere; `None` if it leads somewhere, or out of the repository.
fn wrong(document: &Path, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => document.to_path_buf(),
        _ => document.parent().unwrap().join(file),
    };
    if !target.exists() {
        return Some(format!("{}: {link} does not exist", document.display()));
    }
    let is_anchored = anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
    (!is_anchored).then(|| format!("{}: {link} has no such heading", document.display()))
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = Vec::new();
    documents(&root(), &mut found);
    let mut count = 0;
    let mut wrong_links = Vec::new();
    for document in &found {
        let links = links(&fs::read_to_string(document).unwrap());
        count += links.len();
        wrong_links.extend(links.iter().filter_map(|link| wrong(document, link)));
    }
    assert!(count > 100, "{count} links in {} documents", found.len());
    assert_eq!(wrong_links, Vec::<String>::new());
}

#[test]
fn links_that_lead_nowhere_are_found() {
    let readme = root().join("README.md");
    assert_eq!(
        links("[a](b.md), `x` [c](d/e.md#f)\n```\n[no](link)\n```"),
        ["b.md", "d/e.md#f"]
    );
    assert!(wrong(&readme, "docs/none.md").is_some());
    assert!(wrong(&readme, "docs/architecture.md#none").is_some());
    assert_eq!(wrong(&readme, "#quick-start"), None);
    assert_eq!(wrong(&readme, "https://example.org/none.md"), None);
}

#[test]
fn documents_are_as_short_as_they_should_be() {
    for (document, at_most) in SIZES {
        let size = fs::read(root().join(document)).unwrap().len();
        assert!(size <= at_most, "{document} has {size} bytes, {at_most} are its limit");
    }
}
