//! SMTP (RFC 5321): envelopes, replies, extensions, and the message between DATA and its final dot.

pub mod command;
pub mod data;
pub mod extensions;
pub mod path;
pub mod reply;

pub use command::{Body, MailFrom, Notify, RcptTo, Refusal, Ret, Xtext};
pub use extensions::{Extensions, SmtpUtf8Missing};
pub use path::Path;
pub use reply::{EnhancedCode, MalformedReply, Reply, ReplyReader, shorten};

/// The largest message, in octets: what Exchange announces in `SIZE`, whatever the mailbox's own limit.
pub const SIZE_LIMIT_OCTETS: u64 = 157_286_400;
