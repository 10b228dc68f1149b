//! What every stage may use. It uses nothing of ours.

pub mod clock;
pub mod fault;
pub mod names;
pub mod secret;

pub use clock::Clock;
pub use fault::{Answer, Fault, Reference, Whose};
pub use names::{ConnId, Mailbox, MailboxError, Protocol, TenantName};
pub use secret::Secret;
