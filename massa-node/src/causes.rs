//! Errors as one line for people.

use massa_api_exports::text::shortened;
use std::error::Error;

/// Bytes of such a line: what a file or a peer has sent may be in it.
const LINE_BYTES_MAX: usize = 2_000;

/// An error with its causes. What is told already is not repeated, and of what somebody wrote little.
pub fn with_causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !line.contains(&told) {
            line.push_str(": ");
            line.push_str(&told);
        }
        cause = error.source();
    }
    shortened(&line, LINE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("the private API could not listen on 127.0.0.1:1")]
    struct Silent(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("API: {0}")]
    struct Telling(#[source] Silent);

    #[test]
    fn a_cause_that_is_left_to_the_source_is_told_and_another_one_is_not_repeated() {
        let error = Telling(Silent(io::ErrorKind::AddrInUse.into()));
        assert_eq!(
            with_causes(&error),
            "API: the private API could not listen on 127.0.0.1:1: address in use"
        );
    }

    #[test]
    fn what_a_file_says_is_not_repeated_at_length() {
        #[derive(Debug, thiserror::Error)]
        #[error("genesis file g.json: seed: {0:?} is not 64 hexadecimal digits")]
        struct Wrong(String);

        for long in ["x".repeat(20_000_000), "x ".repeat(10_000_000)] {
            let line = with_causes(&Wrong(long));
            assert!(line.starts_with("genesis file g.json: seed: \"x"), "{line}");
            assert!(
                line.ends_with("\" is not 64 hexadecimal digits") && line.len() < 300,
                "{line}"
            );
        }
    }
}
