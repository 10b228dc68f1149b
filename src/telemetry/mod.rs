//! Logs: what happened, for the operator. Never a password, a token, or a message.

pub mod audit;
mod incidents;
mod journal;
pub mod log;
pub mod metrics;

pub use self::incidents::{Incidents, Whom};
pub use self::journal::Journal;
