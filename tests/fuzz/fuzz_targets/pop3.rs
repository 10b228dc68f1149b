//! The Pop3 front in every state a client can bring it to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::front::pop3::Pop3;

fuzz_target!(|input: &[u8]| postern_fuzz::drive(input, Pop3::new));
