//! Logs: what happened, for the operator. Never a password, a token, or a message.

mod incidents;
pub mod log;

pub use self::incidents::{Incidents, Whom};
