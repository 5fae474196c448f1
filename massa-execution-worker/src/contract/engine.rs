//! Modules: which ones are accepted, their compilation, and a cache of compiled ones.

use super::context::{refused, shortage, Failure};
use super::gas::OPERATOR_GAS;
use super::host::{self, Host};
use massa_hash::Hash;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use wasmparser::{Parser, Payload, Validator, WasmFeatures, WasmFeaturesInflated};
use wasmtime::{Config, InstancePre, Linker, Module, OperatorCost, OutOfMemory, VariableOperatorCost};

/// Pages of 64 KiB that the memory of an instance can have.
pub(super) const MEMORY_PAGES_MAX: u64 = 64;

/// Address space before and after a memory, so that small offsets need no check of their own.
const MEMORY_GUARD_BYTES: u64 = 64 << 10;

/// Stack of one instance. A contract that needs more of it than this is stopped.
pub(super) const STACK_BYTES_MAX: usize = 512 << 10;

/// Bytecode whose compiled form is kept: compiled code is some ten times as large.
const CACHED_BYTECODE_BYTES_MAX: usize = 8 << 20;

/// Upstream's caps of a module.
const EXPORTS_MAX: u32 = 1024;
const FUNCTIONS_MAX: u32 = 768;
const IMPORTS_MAX: u32 = 257;
const TABLES_MAX: u32 = 16;
const MEMORIES_MAX: u32 = 1;
const GLOBALS_MAX: u32 = 512;
const CUSTOM_SECTIONS_MAX: u32 = 1;
const CUSTOM_SECTION_BYTES_MAX: usize = 1_000_000;
const NAME_BYTES_MAX: usize = 256;
const SIGNATURE_MAX: usize = 72;

/// Elements of a table: what one reserves at once.
const TABLE_ELEMENTS_MAX: u64 = 10_000;

/// Compiles modules.
pub(crate) struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<Host>,
    cache: Mutex<Cache>,
}

/// Compiled modules; the one that was not used for longest goes first.
#[derive(Default)]
struct Cache {
    modules: HashMap<Hash, Cached>,
    bytecode_bytes: usize,
    clock: u64,
}

struct Cached {
    module: Arc<InstancePre<Host>>,
    bytecode_bytes: usize,
    last_use: u64,
}

impl Cache {
    fn get(&mut self, hash: &Hash) -> Option<Arc<InstancePre<Host>>> {
        self.clock += 1;
        let cached = self.modules.get_mut(hash)?;
        cached.last_use = self.clock;
        Some(Arc::clone(&cached.module))
    }

    fn insert(&mut self, hash: Hash, bytecode_bytes: usize, module: Arc<InstancePre<Host>>) {
        let cached = Cached {
            module,
            bytecode_bytes,
            last_use: self.clock,
        };
        self.bytecode_bytes += bytecode_bytes;
        if let Some(before) = self.modules.insert(hash, cached) {
            self.bytecode_bytes -= before.bytecode_bytes;
        }
        while self.bytecode_bytes > CACHED_BYTECODE_BYTES_MAX && self.modules.len() > 1 {
            let oldest = self.modules.iter().min_by_key(|(_, cached)| cached.last_use);
            let oldest = *oldest.expect("there is more than one").0;
            if let Some(cached) = self.modules.remove(&oldest) {
                self.bytecode_bytes -= cached.bytecode_bytes;
            }
        }
    }
}

impl Engine {
    /// Sets up the compiler and the host functions.
    ///
    /// # Errors
    /// This machine is not one that can be compiled for.
    pub(crate) fn new() -> Result<Self, String> {
        let engine = wasmtime::Engine::new(&config()).map_err(|error| format!("{error:#}"))?;
        let linker = host::linker(&engine).map_err(|error| format!("{error:#}"))?;
        Ok(Self {
            engine,
            linker,
            cache: Mutex::default(),
        })
    }

    pub(super) fn engine(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// A module that can be instantiated.
    ///
    /// # Errors
    /// - [`Failure::Refused`]: the bytecode is not one that is accepted. The message says why.
    /// - [`Failure::Environment`]: this machine could not take the compiled code in.
    pub(super) fn load(&self, bytecode: &[u8]) -> Result<Arc<InstancePre<Host>>, Failure> {
        let hash = Hash::compute_from(bytecode);
        if let Some(module) = self.cache.lock().get(&hash) {
            return Ok(module);
        }
        check(bytecode).map_err(Failure::Refused)?;
        let module = self.compile(bytecode)?;
        self.check_imports(&module)?;
        let instance = self.linker.instantiate_pre(&module);
        let module = Arc::new(instance.map_err(|error| blame(&error, "linked"))?);
        self.cache.lock().insert(hash, bytecode.len(), Arc::clone(&module));
        Ok(module)
    }

    fn compile(&self, bytecode: &[u8]) -> Result<Module, Failure> {
        Module::new(&self.engine, bytecode).map_err(|error| {
            // Compiling alone is a function of the bytecode; what is left is memory for the code, which the system gives.
            match self.engine.precompile_module(bytecode) {
                Err(error) => blame(&error, "compiled"),
                Ok(_) => shortage(error),
            }
        })
    }

    fn check_imports(&self, module: &Module) -> Result<(), Failure> {
        let mut store = wasmtime::Store::new(&self.engine, Host::idle());
        for import in module.imports() {
            let (space, name) = (import.module(), import.name());
            if self.linker.get(&mut store, space, name).is_err() {
                return refused(format!("unknown import {space}.{name}"));
            }
        }
        Ok(())
    }
}

/// Blames the module for what is calculated from it, unless there was no memory to calculate in.
fn blame(error: &wasmtime::Error, step: &str) -> Failure {
    if error.is::<OutOfMemory>() {
        return shortage(error);
    }
    Failure::Refused(format!("module not {step}: {error:#}"))
}

/// Takes what the engine needs in a thread now and not in the middle of an execution: without it the engine panics.
pub(crate) fn prepare_thread() {
    wasmtime::Engine::tls_eager_initialize();
}

fn config() -> Config {
    let mut config = Config::new();
    config.consume_fuel(true);
    config.operator_cost(operator_cost());
    config.cranelift_nan_canonicalization(true);
    config.max_wasm_stack(STACK_BYTES_MAX);
    config.wasm_backtrace_max_frames(None);
    // Exactly what a memory can become. The default reserves 4 GiB for each instance, which a limit of address space
    // refuses; and no file in memory for its first content, which a limit of descriptors refuses.
    config.memory_reservation(MEMORY_PAGES_MAX << 16);
    config.memory_guard_size(MEMORY_GUARD_BYTES);
    config.memory_may_move(false);
    config.memory_init_cow(false);
    config.wasm_simd(false);
    config.wasm_relaxed_simd(false);
    config.wasm_multi_memory(false);
    config.wasm_memory64(false);
    config.wasm_tail_call(false);
    config.wasm_extended_const(false);
    config
}

/// Fuel is gas: each operator has its price, whatever it is, and each byte that an operator moves one more.
fn operator_cost() -> OperatorCost {
    let mut variable = VariableOperatorCost::new();
    // In pages; growing is limited by the memory's limit.
    variable.memory_grow_per_page = 0;
    macro_rules! every_operator {
        ($(@$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            OperatorCost { $($op: OPERATOR_GAS,)* variable }
        };
    }
    wasmparser::for_each_operator!(every_operator)
}

/// What modules may use: WebAssembly 1.0, sign extension, conversions that saturate, bulk memory.
fn features() -> WasmFeatures {
    WasmFeaturesInflated {
        mutable_global: true,
        floats: true,
        sign_extension: true,
        saturating_float_to_int: true,
        bulk_memory: true,
        bulk_memory_opt: true,
        ..WasmFeatures::empty().inflate()
    }
    .into()
}

/// Checks a module against the features and the caps, before it is compiled.
fn check(bytecode: &[u8]) -> Result<(), String> {
    if !bytecode.starts_with(b"\0asm") {
        return Err("the bytecode is not a WebAssembly module".to_string());
    }
    Validator::new_with_features(features())
        .validate_all(bytecode)
        .map_err(|error| format!("module not valid: {error}"))?;
    let mut custom_sections = 0;
    for payload in Parser::new(0).parse_all(bytecode) {
        let payload = payload.map_err(|error| format!("module not valid: {error}"))?;
        if matches!(payload, Payload::CustomSection(_)) {
            custom_sections += 1;
            at_most("custom sections", custom_sections, CUSTOM_SECTIONS_MAX)?;
        }
        check_section(&payload)?;
    }
    Ok(())
}

fn check_section(payload: &Payload<'_>) -> Result<(), String> {
    match payload {
        Payload::TypeSection(types) => {
            for group in types.clone().into_iter_err_on_gc_types() {
                let signature = group.map_err(|error| error.to_string())?;
                let length = signature.params().len() + signature.results().len();
                at_most("values of a signature", length, SIGNATURE_MAX)?;
            }
            Ok(())
        }
        Payload::ImportSection(imports) => at_most("imports", imports.count(), IMPORTS_MAX),
        Payload::FunctionSection(functions) => at_most("functions", functions.count(), FUNCTIONS_MAX),
        Payload::TableSection(tables) => {
            at_most("tables", tables.count(), TABLES_MAX)?;
            for table in tables.clone() {
                let table = table.map_err(|error| error.to_string())?;
                at_most("elements of a table", table.ty.initial, TABLE_ELEMENTS_MAX)?;
            }
            Ok(())
        }
        Payload::GlobalSection(globals) => at_most("globals", globals.count(), GLOBALS_MAX),
        Payload::MemorySection(memories) => {
            at_most("memories", memories.count(), MEMORIES_MAX)?;
            for memory in memories.clone() {
                let memory = memory.map_err(|error| error.to_string())?;
                let pages = memory.maximum.unwrap_or(memory.initial).max(memory.initial);
                at_most("pages of memory", pages, MEMORY_PAGES_MAX)?;
            }
            Ok(())
        }
        Payload::ExportSection(exports) => {
            at_most("exports", exports.count(), EXPORTS_MAX)?;
            for export in exports.clone() {
                let name = export.map_err(|error| error.to_string())?.name;
                at_most("bytes of an exported name", name.len(), NAME_BYTES_MAX)?;
            }
            Ok(())
        }
        Payload::CustomSection(section) => at_most(
            "bytes of a custom section",
            section.data().len(),
            CUSTOM_SECTION_BYTES_MAX,
        ),
        _ => Ok(()),
    }
}

fn at_most<T: PartialOrd + std::fmt::Display>(what: &str, count: T, max: T) -> Result<(), String> {
    if count > max {
        return Err(format!("module not accepted: {count} {what}, above {max}"));
    }
    Ok(())
}
