//! The Imap front in every state a client can bring it to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::front::imap::Imap;

fuzz_target!(|input: &[u8]| postern_fuzz::drive(input, Imap::new));
