//! Logs: what happened, for the operator. Never a password, a token, or a message.

pub mod log;
