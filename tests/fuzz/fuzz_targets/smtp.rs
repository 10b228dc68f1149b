//! The Smtp front in every state a client can bring it to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::front::smtp::Smtp;

fuzz_target!(|input: &[u8]| postern_fuzz::drive(input, Smtp::new));
