//! The languages: bytes ↔ values. No socket, no clock, no store.

pub mod answer;
pub mod folder_name;
pub mod header;
pub mod imap;
pub mod line;
pub mod pop3;
pub mod sasl;
pub mod smtp;
pub mod tunnel;
pub mod watch;
