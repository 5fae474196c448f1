//! Errors as one line for people.

use std::error::Error;

/// An error with its causes. What is told already is not repeated.
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
    line
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
}
