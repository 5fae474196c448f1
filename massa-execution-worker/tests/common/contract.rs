//! Contracts written by hand, and operations that deploy and call them.

use super::*;
use massa_models::datastore::Datastore;
use massa_models::output_event::SCOutputEvent;
use std::fmt::Write;

pub const MAX_GAS: u64 = 2_000_000_000;
pub const COIN: u64 = 1_000_000_000;
/// What the tests put into a contract when they deploy it.
pub const DEPOSIT: u64 = 10 * COIN;

/// Makes contracts from an operation's datastore, as massa-web3's does.
pub fn deployer() -> Vec<u8> {
    std::fs::read(repository("massa-storage-sc/build/deployer.wasm")).unwrap()
}

pub fn registry() -> Vec<u8> {
    std::fs::read(repository("massa-storage-sc/build/storage-registry.wasm")).unwrap()
}

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Where [`Text`] and [`Data`] are put. The memory that the allocator gives begins behind them.
const FIRST_OBJECT: usize = 16;

/// A module in text form with what AssemblyScript's runtime exports: memory, `__new` and `__pin`.
pub struct Wat {
    objects: String,
    next: usize,
    imports: String,
    functions: String,
}

impl Wat {
    pub fn new() -> Self {
        Self {
            objects: String::new(),
            next: FIRST_OBJECT,
            imports: String::new(),
            functions: String::new(),
        }
    }

    /// Puts a buffer into the memory. Returns its pointer.
    pub fn data(&mut self, bytes: &[u8]) -> usize {
        let mut escaped = String::new();
        for byte in (bytes.len() as u32).to_le_bytes().iter().chain(bytes) {
            write!(escaped, "\\{byte:02x}").unwrap();
        }
        writeln!(self.objects, "(data (i32.const {}) \"{escaped}\")", self.next - 4).unwrap();
        let pointer = self.next;
        self.next += (bytes.len() + 4).next_multiple_of(8);
        pointer
    }

    /// Puts a string into the memory. Returns its pointer.
    pub fn text(&mut self, text: &str) -> usize {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.data(&bytes)
    }

    /// Imports a function of the `massa` module under its short name, with its signature.
    pub fn import(mut self, name: &str, signature: &str) -> Self {
        let import = format!("(import \"massa\" \"assembly_script_{name}\" (func ${name} {signature}))");
        writeln!(self.imports, "{import}").unwrap();
        self
    }

    /// Adds fields of the module.
    pub fn add(&mut self, fields: &str) -> &mut Self {
        writeln!(self.functions, "{fields}").unwrap();
        self
    }

    /// An exported function without parameter.
    pub fn function(&mut self, name: &str, body: &str) -> &mut Self {
        self.add(&format!("(func (export \"{name}\") {body})"))
    }

    pub fn build(&self) -> Vec<u8> {
        let Self {
            objects,
            next,
            imports,
            functions,
        } = self;
        let text = format!(
            r#"(module {imports}
            (memory (export "memory") 8)
            (global $top (mut i32) (i32.const {next}))
            (func (export "__new") (param $size i32) (param i32) (result i32)
                (local $object i32)
                (local.set $object (i32.add (global.get $top) (i32.const 4)))
                (i32.store (global.get $top) (local.get $size))
                (global.set $top
                    (i32.and (i32.add (i32.add (local.get $object) (local.get $size)) (i32.const 11)) (i32.const -8)))
                (local.get $object))
            (func (export "__pin") (param i32) (result i32) (local.get 0))
            {objects} {functions})"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }
}

/// The datastore from which the deployer makes one contract.
pub fn deployment(bytecode: Vec<u8>, constructor_argument: &[u8], coins: u64) -> Datastore {
    let number = 1u64.to_le_bytes();
    let argument = |kind: u8| [&number[..], &1u32.to_le_bytes(), &[kind]].concat();
    Datastore::from([
        (vec![0], number.to_vec()),
        (number.to_vec(), bytecode),
        (argument(0), constructor_argument.to_vec()),
        (argument(1), coins.to_le_bytes().to_vec()),
    ])
}

pub fn deploy(
    sender: &KeyPair,
    bytecode: Vec<u8>,
    constructor_argument: &[u8],
    coins: u64,
    expire_period: u64,
) -> SecureShareOperation {
    let op = OperationType::ExecuteSC {
        data: deployer(),
        max_gas: MAX_GAS,
        max_coins: nano(100 * COIN),
        datastore: deployment(bytecode, constructor_argument, coins),
    };
    operation(sender, 0, expire_period, op)
}

pub fn execute(sender: &KeyPair, bytecode: Vec<u8>, max_coins: u64, fee: u64, expire: u64) -> SecureShareOperation {
    let op = OperationType::ExecuteSC {
        data: bytecode,
        max_gas: 100_000_000,
        max_coins: nano(max_coins),
        datastore: Datastore::new(),
    };
    operation(sender, fee, expire, op)
}

pub fn call_with(
    sender: &KeyPair,
    (target, function): (Address, &str),
    parameter: &[u8],
    (coins, fee, max_gas): (u64, u64, u64),
    expire_period: u64,
) -> SecureShareOperation {
    let op = OperationType::CallSC {
        target_addr: target,
        target_func: function.to_string(),
        param: parameter.to_vec(),
        max_gas,
        coins: nano(coins),
    };
    operation(sender, fee, expire_period, op)
}

/// A call without fee.
pub fn call(
    sender: &KeyPair,
    target: (Address, &str),
    parameter: &[u8],
    coins: u64,
    expire: u64,
) -> SecureShareOperation {
    call_with(sender, target, parameter, (coins, 0, 500_000_000), expire)
}

/// The address that the deployer's event tells.
pub fn deployed_address(events: &[SCOutputEvent]) -> Address {
    let told = events
        .iter()
        .find_map(|event| event.data.strip_prefix("Contract deployed at address: "));
    told.unwrap_or_else(|| panic!("no contract in {events:?}"))
        .parse()
        .unwrap()
}
