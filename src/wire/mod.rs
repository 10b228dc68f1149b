//! The languages: bytes ↔ values. No socket, no clock, no store.

pub mod sasl;
