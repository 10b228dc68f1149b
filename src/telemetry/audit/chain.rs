//! The seals of a chain.

use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};

use crate::base::Secret;
use crate::store::{AuditEnd, AuditEndRecord, AuditEntry, AuditRecord, AuditTail, Seal, Sealer};

/// Makes the seals of a chain.
#[derive(Clone)]
pub struct Chain(hmac::Key);

impl Chain {
    /// Takes the key, 32 octets.
    pub fn new(key: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The seal of what is noted outside of the store as the newest entry of an instance.
    pub(in crate::telemetry::audit) fn of_mark(&self, instance: &str, tail: AuditTail) -> Seal {
        self.seal(&[b"mark", instance.as_bytes(), &tail.number.to_be_bytes(), &tail.seal])
    }

    /// Whether an end was noted by somebody who has the key.
    pub(in crate::telemetry::audit) fn is_true(&self, end: &AuditEndRecord) -> bool {
        self.of_end(&end.instance, end.of, end.number, &end.seal, end.at) == end.own_seal
    }

    /// The seal of a chain as it stands there, broken as it may be.
    pub(in crate::telemetry::audit) fn digest(&self, instance: &str) -> Digest<'_> {
        let mut digest = Digest { chain: self, context: hmac::Context::with_key(&self.0) };
        digest.context.update(b"digest");
        digest.context.update(&(instance.len() as u64).to_be_bytes());
        digest.context.update(instance.as_bytes());
        digest
    }

    /// The seal of these parts. Each has its length in front, so that no two lists of parts are alike.
    fn seal(&self, parts: &[&[u8]]) -> Seal {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut seal = Seal::default();
        seal.copy_from_slice(context.sign().as_ref());
        seal
    }
}

impl Sealer for Chain {
    fn of_entry(&self, instance: &str, number: u64, before: &Seal, entry: &AuditEntry) -> Seal {
        self.seal(&[
            b"entry",
            instance.as_bytes(),
            &number.to_be_bytes(),
            before,
            &entry.at.timestamp_millis().to_be_bytes(),
            entry.kind.name().as_bytes(),
            entry.mailbox.as_ref().map_or(&b""[..], |mailbox| mailbox.as_str().as_bytes()),
            entry.password_id.as_deref().unwrap_or_default().as_bytes(),
            entry.details.as_bytes(),
        ])
    }

    fn of_end(&self, instance: &str, of: AuditEnd, number: u64, seal: &Seal, at: DateTime<Utc>) -> Seal {
        self.seal(&[
            b"end",
            instance.as_bytes(),
            of.name().as_bytes(),
            &number.to_be_bytes(),
            seal,
            &at.timestamp_millis().to_be_bytes(),
        ])
    }
}

/// Takes a chain in, from its beginning to its end.
pub(in crate::telemetry::audit) struct Digest<'a> {
    chain: &'a Chain,
    context: hmac::Context,
}

impl Digest<'_> {
    /// What stands around it: how many rows are in front of its beginning, and its ends as they are noted.
    pub(in crate::telemetry::audit) fn begin(&mut self, in_front: u64, ends: [Option<&AuditEndRecord>; 2]) {
        self.context.update(&in_front.to_be_bytes());
        for end in ends {
            let (number, seal, own) =
                end.map_or((0, Seal::default(), Seal::default()), |end| (end.number, end.seal, end.own_seal));
            self.context.update(&number.to_be_bytes());
            self.context.update(&seal);
            self.context.update(&own);
        }
    }

    pub(in crate::telemetry::audit) fn add(&mut self, record: &AuditRecord) {
        let of_content = self.chain.of_entry(&record.instance, record.number, &Seal::default(), &record.entry);
        self.context.update(&of_content);
        self.context.update(&record.number.to_be_bytes());
        self.context.update(&record.seal);
        self.context.update(&[u8::from(record.is_as_written)]);
    }

    pub(in crate::telemetry::audit) fn finish(self) -> String {
        hex(self.context.sign().as_ref())
    }
}

/// In hexadecimal.
pub(in crate::telemetry::audit) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
