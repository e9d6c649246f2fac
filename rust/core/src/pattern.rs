//! What test files hold.

/// Bytes that repeat at no power of two, so that a swapped or repeated block shows.
pub fn pattern(length: usize) -> Vec<u8> {
    // Repeated, not made one by one: where nothing is optimised that takes longer than whatever is tested with it.
    let mut bytes = (0..=250).collect::<Vec<u8>>().repeat(length.div_ceil(251));
    bytes.truncate(length);
    bytes
}
