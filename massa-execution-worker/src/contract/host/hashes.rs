//! Host functions for hashes, signatures and addresses.

use super::{enter, memory, parse_address, Guest, Host, MASSA};
use crate::contract::context::Failure;
use massa_hash::Hash;
use massa_models::address::Address;
use massa_signature::{PublicKey, Signature};
use sha2::Digest;
use std::str::FromStr;
use wasmtime::{Caller, Linker, Result};

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    add_hashes(linker)?;
    add_signatures(linker)
}

fn add_hashes(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MASSA,
        "assembly_script_hash",
        |mut caller: Caller<'_, Host>, data: i32| {
            enter(&mut caller, 1055)?;
            let data = Guest(&mut caller).bytes(data)?;
            Guest(&mut caller).give_bytes(Hash::compute_from(&data).to_bytes())
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_hash_sha256",
        |mut caller: Caller<'_, Host>, data: i32| {
            enter(&mut caller, 990)?;
            let data = Guest(&mut caller).bytes(data)?;
            Guest(&mut caller).give_bytes(&sha2::Sha256::digest(data))
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_keccak256_hash",
        |mut caller: Caller<'_, Host>, data: i32| {
            enter(&mut caller, 1055)?;
            let data = Guest(&mut caller).bytes(data)?;
            Guest(&mut caller).give_bytes(&sha3::Keccak256::digest(data))
        },
    )?;
    Ok(())
}

fn add_signatures(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MASSA,
        "assembly_script_signature_verify",
        |mut caller: Caller<'_, Host>, data: i32, signature: i32, public_key: i32| {
            enter(&mut caller, 1200)?;
            let data = Guest(&mut caller).text(data)?;
            let (signature, public_key) = (
                Guest(&mut caller).text(signature)?,
                Guest(&mut caller).text(public_key)?,
            );
            Ok(i32::from(is_signed(&data, &signature, &public_key)))
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_address_from_public_key",
        |mut caller: Caller<'_, Host>, public_key: i32| {
            enter(&mut caller, 1570)?;
            let text = Guest(&mut caller).text(public_key)?;
            let key = PublicKey::from_str(&text);
            let key = key.map_err(|error| Failure::Refused(format!("public key {text:?}: {error}")))?;
            Guest(&mut caller).give_text(&Address::from_public_key(&key).to_string())
        },
    )?;
    // Answers before the module is started too, as upstream's does.
    linker.func_wrap(
        MASSA,
        "assembly_script_validate_address",
        |mut caller: Caller<'_, Host>, text: i32| {
            memory::find_memory(&mut caller);
            super::take_gas(&mut caller, super::price(890))?;
            let text = Guest(&mut caller).text(text)?;
            Ok(i32::from(Address::from_str(&text).is_ok()))
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_is_address_eoa",
        |mut caller: Caller<'_, Host>, text: i32| {
            enter(&mut caller, 450)?;
            let text = Guest(&mut caller).text(text)?;
            Ok(i32::from(matches!(parse_address(&text)?, Address::User(_))))
        },
    )?;
    Ok(())
}

/// Ed25519 over the BLAKE3 hash of the text. What is malformed did not sign anything.
fn is_signed(data: &str, signature: &str, public_key: &str) -> bool {
    let (Ok(signature), Ok(key)) = (Signature::from_bs58_check(signature), PublicKey::from_str(public_key)) else {
        return false;
    };
    let hash = Hash::compute_from(data.as_bytes());
    key.verify_signature(&hash, &signature).is_ok()
}
