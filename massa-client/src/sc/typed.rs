//! Arguments of contracts as words: `u64:5`, `string:text`, … , written as massa-web3 writes its `Args`.

use crate::node::NodeCommandError;
use massa_distributed_storage_worker::smart_contract::args::ArgsWriter;
use massa_models::amount::Amount;
use std::str::FromStr;

/// The kinds, as the help names them.
pub const KINDS: &str =
    "u8: u32: u64: bool: mas: (an amount, as u64 nanoMAS) string: strings:a,b bytes:hex raw:hex (no length)";

/// The parameter that these words make.
///
/// # Errors
/// [`NodeCommandError::Argument`], with the word.
pub fn parameter(words: &[String]) -> Result<Vec<u8>, NodeCommandError> {
    let written = words.iter().try_fold(ArgsWriter::new(), |args, word| {
        write(args, word).map_err(|reason| NodeCommandError::Argument {
            field: "ARGUMENTS",
            reason: format!("{word:?}: {reason}"),
        })
    });
    Ok(written?.finish())
}

fn write(args: ArgsWriter, word: &str) -> Result<ArgsWriter, String> {
    let (kind, value) = word.split_once(':').ok_or("say of what kind it is, as in u64:5")?;
    Ok(match kind {
        "u8" => args.u8(parsed(value)?),
        "u32" => args.u32(parsed(value)?),
        "u64" => args.u64(parsed(value)?),
        "bool" => args.bool(parsed(value)?),
        "mas" => args.u64(parsed::<Amount>(value)?.to_raw()),
        "string" => args.text(value),
        "strings" => args.texts(&list(value)),
        "bytes" => args.bytes(&bytes(value)?),
        "raw" => args.raw(&bytes(value)?),
        other => return Err(format!("{other} is none of {KINDS}")),
    })
}

fn list(value: &str) -> Vec<String> {
    let words = value.split(',').filter(|word| !word.is_empty());
    words.map(str::to_string).collect()
}

/// Bytes from hexadecimal digits.
///
/// # Errors
/// What is wrong with them.
pub fn bytes(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).map_err(|error| format!("not hexadecimal: {error}"))
}

fn parsed<T: FromStr>(value: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    value.parse().map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        parameter(&words).map(hex::encode).map_err(|error| error.to_string())
    }

    #[test]
    fn words_become_the_bytes_of_massa_web3() {
        for (word, bytes) in [
            ("u8:7", "07"),
            ("u32:258", "02010000"),
            ("u64:1", "0100000000000000"),
            ("bool:true", "01"),
            ("mas:1.5", "002f685900000000"),
            ("string:ab:c", "0400000061623a63"),
            ("string:", "00000000"),
            ("strings:a,bc", "0b0000000100000061020000006263"),
            ("bytes:0xbeef", "02000000beef"),
            ("raw:beef", "beef"),
        ] {
            assert_eq!(made(&[word]), Ok(bytes.to_string()), "{word}");
        }
        assert_eq!(made(&["u8:1", "bool:false"]), Ok("0100".into()));
        assert_eq!(made(&[]), Ok(String::new()));
    }

    #[test]
    fn a_word_that_is_none_is_refused_by_its_name() {
        for word in [
            "5",
            "u64:-1",
            "u8:256",
            "bool:yes",
            "mas:1.0000000001",
            "bytes:xyz",
            "i64:5",
        ] {
            let error = made(&[word]).unwrap_err();
            assert!(error.starts_with(&format!("ARGUMENTS: {word:?}: ")), "{error}");
        }
    }
}
