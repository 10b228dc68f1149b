//! A header of the PROXY protocol, cut anywhere: it is read or refused, and never more of the stream than the header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::listener::proxy_header;

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    if runtime.block_on(proxy_header::read(&mut rest)).is_ok() {
        let taken = input.len() - rest.len();
        assert!(taken >= 15, "{taken}");
        if input.starts_with(b"PROXY") {
            assert!(input[..taken].ends_with(b"\r\n"));
        }
    }
});
