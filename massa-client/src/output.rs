//! What commands print, and how they fail.
//!
//! Results go to standard output: as text, or with `--json` as one JSON document on one line. A failure is one line on
//! standard error, `error: …` or with `--json` `{"error": "…"}`, with the causes joined by `: `, and the node's error code if
//! it has one. Whoever reads only the beginning (`| head`) ends the program quietly; a full disk is a failure like any other.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use massa_api_exports::text::shortened;
use serde::Serialize;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};

/// Bytes of a failure: what nodes and files say may be in it.
const FAILURE_BYTES_MAX: usize = 2_000;

/// A result that can be printed: its serde form is what `--json` prints.
pub trait Report: Serialize {
    /// The form for people, without a final line break.
    fn text(&self) -> String;
}

/// Standard output, in the form that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
}

impl Output {
    /// Prints a result.
    ///
    /// # Errors
    /// [`io::Error`] when it cannot be written; not when nobody wants to read it.
    pub fn print(&self, report: &impl Report) -> io::Result<()> {
        let mut line = if self.json {
            serde_json::to_string(report)?
        } else {
            report.text()
        };
        line.push('\n');
        self.write([line.as_bytes()])
    }

    /// Prints a JSON document for people to look at, whether or not JSON was asked for.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn print_document(&self, document: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(document)?;
        text.push('\n');
        self.write([text.as_bytes()])
    }

    /// Writes bytes as they are, one piece after the other.
    ///
    /// # Errors
    /// As [`Output::print`].
    pub fn write<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let write_all = || {
            for piece in pieces {
                stdout.write_all(piece)?;
            }
            stdout.flush()
        };
        match write_all() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// Says something beside the result, on standard error: `note: …` or with `--json` `{"note": "…"}`.
    pub fn note(&self, message: &str) {
        let line = if self.json {
            serde_json::json!({ "note": message }).to_string()
        } else {
            format!("note: {message}")
        };
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Prints a failure on standard error, with little of what others wrote, and the code that a node gave it. When that
    /// cannot be written either, the exit status is all there is.
    pub fn fail(&self, message: &str, code: Option<i32>) {
        let message = shortened(message, FAILURE_BYTES_MAX);
        let line = match (self.json, code) {
            (true, None) => serde_json::json!({ "error": message }).to_string(),
            (true, Some(code)) => serde_json::json!({ "error": message, "code": code }).to_string(),
            (false, None) => format!("error: {message}"),
            (false, Some(code)) => format!("error: {message} (code {code})"),
        };
        let _ = writeln!(io::stderr(), "{line}");
    }
}

/// An error and its causes on one line. A cause that the message before it already ends with is not repeated.
pub fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    unbroken(&line)
}

/// The words of `text`, with what breaks lines or moves the cursor replaced by a space.
pub fn unbroken(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean
        .split(' ')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Names and values below each other.
pub fn name_value_lines<'a>(lines: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let lines: Vec<(&str, String)> = lines.into_iter().collect();
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {value}");
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A table with these headings.
pub fn table<C: Display>(
    headings: impl IntoIterator<Item = &'static str>,
    rows: impl IntoIterator<Item = Vec<C>>,
) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(headings.into_iter().collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.iter().map(C::to_string));
    }
    table.to_string()
}

/// Numbers as people write ranges: `1, 3-5`.
pub fn ranges(numbers: impl IntoIterator<Item = u64>) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match spans.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => spans.push((number, number)),
        }
    }
    let text = |(first, last): &(u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    spans.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// A number with the thing it counts.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A progress bar on standard error, drawn only if that is a terminal. `template` is one of indicatif.
pub fn progress_bar(length: u64, template: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(template).expect("the template is a constant that a test draws");
    bar.with_style(style)
}
