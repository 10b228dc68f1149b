//! What the messages hold.

/// The octets of so many MiB.
pub fn octets(mib: usize) -> usize {
    mib * 1024 * 1024
}

/// A message of so many MiB, in lines as base64 has them; of 2 KiB for none.
pub fn message(mib: usize) -> Vec<u8> {
    let size = if mib == 0 { 2048 } else { octets(mib) };
    let mut message = b"Subject: benchmark\r\n\r\n".to_vec();
    let line = [b'A'; 76];
    while message.len() + 78 + 2 < size {
        message.extend_from_slice(&line);
        message.extend_from_slice(b"\r\n");
    }
    while message.len() + 2 < size {
        message.push(b'B');
    }
    message.extend_from_slice(b"\r\n");
    message
}
