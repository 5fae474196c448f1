//! What execution costs: upstream's prices.
//!
//! Beyond upstream's, one gas is taken for each byte that a single operator or host call moves. Without that, one
//! operator that copies megabytes would cost what an addition costs.

/// Gas of a WebAssembly operator.
pub(crate) const OPERATOR_GAS: u8 = 23;

/// Gas for making an instance.
pub(crate) const LAUNCH_GAS: u64 = 15_700;

/// Gas that must be left to load a module, and the least that a read-only execution reports.
pub(crate) const LOAD_GAS: u64 = 2_100_000;

/// Gas that an operation with bytecode takes from its block for compiling it.
pub(crate) const COMPILATION_GAS: u64 = 314_000_000;

/// The price of a host function from the price table: its last digit is rounded, five down.
pub(crate) const fn price(table: u64) -> u64 {
    let digit = table % 10;
    table - digit + if digit > 5 { 10 } else { 0 }
}

/// Gas for bytes that are moved at once.
pub(crate) fn bytes_gas(length: usize) -> u64 {
    length as u64
}

#[cfg(test)]
mod tests {
    use super::price;

    #[test]
    fn prices_are_rounded_to_tens_and_five_goes_down() {
        assert_eq!([775, 1560, 1056, 580].map(price), [770, 1560, 1060, 580]);
    }
}
