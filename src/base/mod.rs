//! What every stage may use. It uses nothing of ours.

pub mod catalogue;
pub mod client_certificate;
pub mod clock;
pub mod envelope;
pub mod fault;
pub mod files;
pub mod host;
pub mod jitter;
pub mod names;
pub mod proxy;
pub mod secret;
pub mod web;

pub use client_certificate::{ClientCertificate, ClientCertificateError, SignatureAlgorithm};
pub use clock::Clock;
pub use envelope::KeyId;
pub use fault::{Answer, Fault, Reference, Whose};
pub use host::{Family, HostKind, HostPort, is_host_name};
pub use jitter::jittered;
pub use names::{ConnId, Mailbox, MailboxError, Protocol, TenantName};
pub use proxy::Proxy;
pub use secret::Secret;
