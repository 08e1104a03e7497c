//! Random text that nobody can guess.

use std::io;

/// 32 lower-case hex digits.
///
/// # Errors
/// The system gives no random bytes.
pub fn random_hex() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(u128::from_le_bytes(bytes)).map(|number| format!("{number:032x}"))
}
