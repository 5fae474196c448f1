//! Strings and buffers in the memory of an instance.

use super::{take_gas, Host};
use crate::contract::context::{refused, Failure};
use crate::contract::gas::bytes_gas;
use massa_models::address::Address;
use wasmtime::{AsContextMut, Caller, Extern, Memory};

/// Kinds of objects, as AssemblyScript numbers them.
const BUFFER_CLASS: i32 = 1;
const STRING_CLASS: i32 = 2;

/// The bytes before an object that hold its length.
const LENGTH_BYTES: usize = 4;

type Result<T> = std::result::Result<T, wasmtime::Error>;

/// The memory of an instance, seen from the host.
pub(in crate::contract) struct Guest<'a, S>(pub(in crate::contract) &'a mut S);

impl<S: AsContextMut<Data = Host>> Guest<'_, S> {
    /// The buffer at a pointer.
    pub(in crate::contract) fn bytes(&mut self, pointer: i32) -> Result<Vec<u8>> {
        let memory = self.memory()?;
        let bytes = object(memory.data(self.0.as_context_mut()), pointer)?.to_vec();
        take_gas(self.0, bytes_gas(bytes.len()))?;
        Ok(bytes)
    }

    /// The string at a pointer. Halves of a pair of surrogates without the other half are replaced.
    pub(super) fn text(&mut self, pointer: i32) -> Result<String> {
        let bytes = self.bytes(pointer)?;
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .collect();
        Ok(String::from_utf16_lossy(&units))
    }

    /// The address whose text is at a pointer.
    pub(super) fn address(&mut self, pointer: i32) -> Result<Address> {
        let text = self.text(pointer)?;
        Ok(super::parse_address(&text)?)
    }

    /// Puts a buffer into the memory.
    pub(in crate::contract) fn give_bytes(&mut self, bytes: &[u8]) -> Result<i32> {
        self.give(bytes, BUFFER_CLASS)
    }

    /// Puts a string into the memory, where it stays.
    pub(super) fn give_text(&mut self, text: &str) -> Result<i32> {
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let pointer = self.give(&bytes, STRING_CLASS)?;
        let Some(pin) = self.0.as_context_mut().data().pin.clone() else {
            return Ok(refused("the module does not export __pin")?);
        };
        pin.call(self.0.as_context_mut(), pointer)
    }

    fn give(&mut self, bytes: &[u8], class: i32) -> Result<i32> {
        take_gas(self.0, bytes_gas(bytes.len()))?;
        let (Ok(length), Some(new)) = (i32::try_from(bytes.len()), self.0.as_context_mut().data().new.clone()) else {
            return Ok(refused("the module does not export __new")?);
        };
        let pointer = new.call(self.0.as_context_mut(), (length, class))?;
        let memory = self.memory()?;
        match memory.write(self.0.as_context_mut(), pointer as u32 as usize, bytes) {
            Ok(()) => Ok(pointer),
            Err(_) => Ok(refused(format!("__new gave {pointer}, outside of the memory"))?),
        }
    }

    fn memory(&mut self) -> Result<Memory> {
        match self.0.as_context_mut().data().memory {
            Some(memory) => Ok(memory),
            None => Ok(refused("the module does not export its memory")?),
        }
    }
}

/// Looks for the memory of an instance that is not started yet.
pub(super) fn find_memory(caller: &mut Caller<'_, Host>) {
    if caller.data().memory.is_none() {
        let memory = caller.get_export("memory").and_then(Extern::into_memory);
        caller.data_mut().memory = memory;
    }
}

/// The object at a pointer: its length stands before it.
fn object(memory: &[u8], pointer: i32) -> std::result::Result<&[u8], Failure> {
    let start = pointer as u32 as usize;
    let length = start.checked_sub(LENGTH_BYTES).and_then(|at| memory.get(at..start));
    let Some(length) = length else {
        return refused(format!("pointer {start} is not that of an object"));
    };
    let length = u32::from_le_bytes(length.try_into().expect("four bytes were taken")) as usize;
    match start.checked_add(length).and_then(|end| memory.get(start..end)) {
        Some(bytes) => Ok(bytes),
        None => refused(format!(
            "the object at {start} with {length} bytes ends outside of the memory"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::object;

    #[test]
    fn objects_have_their_length_before_them_and_end_in_the_memory() {
        let memory = [0, 0, 2, 0, 0, 0, 7, 8, 255, 255, 255, 255, 1];
        assert_eq!(object(&memory, 6).unwrap(), [7, 8]);
        for (pointer, reason) in [
            (0, "not that"),
            (3, "not that"),
            (12, "ends outside"),
            (14, "not that"),
            (-1, "not that"),
        ] {
            let error = object(&memory, pointer).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(object(&memory, 13).is_err());
    }
}
