//! Looking through the chains: whether any entry was changed, put in or taken away.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::store::{AuditEnd, AuditEndRecord, AuditKind, AuditRecord, Seal, Sealer, StoreError};
use crate::telemetry::audit::chain::{Digest, hex};
use crate::telemetry::audit::mark::Mark;
use crate::telemetry::audit::{Audit, FORGOTTEN, SETTLED};

/// Entries that are looked at together.
const PAGE: u32 = 1000;

/// The most faults of one chain that are told.
const MOST_FAULTS: usize = 20;

/// How often a chain is looked through that is pruned meanwhile, and the pause between.
const MOST_TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// A fault that a chain shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Whose chain.
    pub instance: String,
    /// The entry at which it shows.
    pub number: u64,
    /// What is wrong.
    pub why: &'static str,
}

/// What the looking through of a chain came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whose chain.
    pub instance: String,
    /// Entries that are there.
    pub entries: u64,
    /// The place of the newest.
    pub newest: u64,
    /// The beginning of its seal, in hexadecimal: noted elsewhere it also shows when a whole older state was put back.
    pub newest_seal: String,
    /// Up to which place it was pruned; 0: not at all.
    pub pruned: u64,
}

/// A chain that was found broken, and what came of that was found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settled {
    /// Whose chain.
    pub instance: String,
    /// Up to which entry.
    pub number: u64,
    /// What was wrong.
    pub why: String,
    /// When that was settled.
    pub at: DateTime<Utc>,
    /// By whom.
    pub by: String,
    /// What there was to say of it.
    pub reason: Option<String>,
}

/// What all chains show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Those that are whole.
    pub chains: Vec<Verified>,
    /// What is wrong with the others.
    pub broken: Vec<Broken>,
    /// Those of which it was known, and that are as they were then.
    pub settled: Vec<Settled>,
}

/// A chain that was looked through.
struct Walked {
    verified: Verified,
    faults: Vec<Broken>,
    digest: String,
    /// What it says of other chains.
    said: Vec<AuditRecord>,
}

impl Audit {
    /// Looks through all chains of the store, and this one where it has left the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn verify(&self) -> Result<Findings, StoreError> {
        let mut instances = self.store.audit_instances().await?;
        if !matches!(self.mark(), Mark::None) && !instances.contains(&self.instance) {
            instances.push(self.instance.clone());
        }
        let mut walked = Vec::new();
        for instance in &instances {
            walked.push(self.walk(instance).await?);
        }
        // What whole chains say of others; the newest word counts.
        let whole = || walked.iter().filter(|chain| chain.faults.is_empty()).flat_map(|chain| &chain.said);
        let settlements: Vec<Settlement> = whole().filter_map(Settlement::read).collect();
        let forgotten: Vec<String> = whole().filter_map(|record| said_of(record, FORGOTTEN)).collect();
        let mut findings = Findings::default();
        for chain in &walked {
            let instance = &chain.verified.instance;
            match settlements.iter().rev().find(|one| one.settled.instance == *instance) {
                Some(one) if one.digest == chain.digest => findings.settled.push(one.settled.clone()),
                Some(one) => {
                    findings.broken.push(Broken {
                        instance: instance.clone(),
                        number: one.settled.number,
                        why: "something was changed since it was settled",
                    });
                    findings.broken.extend(chain.faults.iter().cloned());
                }
                None if chain.faults.is_empty() => findings.chains.push(chain.verified.clone()),
                None => findings.broken.extend(chain.faults.iter().cloned()),
            }
        }
        for one in &settlements {
            let instance = &one.settled.instance;
            let is_told = findings.broken.iter().any(|fault| fault.instance == *instance);
            if !instances.contains(instance) && !forgotten.contains(instance) && !is_told {
                let number = one.settled.number;
                findings.broken.push(Broken {
                    instance: instance.clone(),
                    number,
                    why: "the chain that was settled is gone",
                });
            }
        }
        Ok(findings)
    }

    /// The seal of a chain as it is now, for whoever settles what is wrong with it.
    pub(in crate::telemetry::audit) async fn digest(&self, instance: &str) -> Result<String, StoreError> {
        Ok(self.walk(instance).await?.digest)
    }

    async fn walk(&self, instance: &str) -> Result<Walked, StoreError> {
        for _ in 1..MOST_TRIES {
            let before = self.end(instance, AuditEnd::Pruned).await?;
            let walked = self.walk_once(instance).await?;
            // What goes while it is read looks as if it had been taken away.
            if walked.faults.is_empty() || self.end(instance, AuditEnd::Pruned).await? == before {
                return Ok(walked);
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.walk_once(instance).await
    }

    async fn end(&self, instance: &str, of: AuditEnd) -> Result<Option<AuditEndRecord>, StoreError> {
        let ends = self.store.audit_ends().await?;
        Ok(ends.into_iter().find(|end| end.instance == instance && end.of == of))
    }

    async fn walk_once(&self, instance: &str) -> Result<Walked, StoreError> {
        let mut faults = Faults { instance, found: Vec::new() };
        let mut digest = self.chain.digest(instance);
        // Both are read first: what is added behind is only more than they say.
        let mark = if instance == self.instance { self.mark() } else { Mark::None };
        let (newest, pruned) =
            (self.end(instance, AuditEnd::Newest).await?, self.end(instance, AuditEnd::Pruned).await?);
        match &newest {
            None => faults.add(0, "the note of its newest entry is missing"),
            Some(newest) if !self.chain.is_true(newest) => {
                faults.add(
                    newest.number,
                    "the note of its newest entry was changed, or something had been touched when it was made",
                );
            }
            Some(_) => {}
        }
        let pruned_end = pruned.clone();
        let pruned = match pruned {
            Some(pruned) if !self.chain.is_true(&pruned) => {
                faults.add(0, "the note of where it begins was changed");
                None
            }
            pruned => pruned,
        };
        let (mut number, mut seal) = pruned.map_or((0, Seal::default()), |pruned| (pruned.number, pruned.seal));
        let in_front = self.store.audit_until(instance, number).await?;
        digest.begin(in_front, [newest.as_ref(), pruned_end.as_ref()]);
        if in_front > 0 {
            faults.add(number, "an entry was put in front of where it begins");
            self.digest_in_front(instance, number, &mut digest).await?;
        }
        let first = number;
        let mut entries = 0;
        let is_tail =
            |tail: Option<(u64, Seal)>, number: u64, seal: &Seal| tail.is_some_and(|tail| tail == (number, *seal));
        let wanted = newest.as_ref().map(|newest| (newest.number, newest.seal));
        let mut newest_was_met = wanted.is_none() || is_tail(wanted, number, &seal);
        let marked = match mark {
            Mark::Of(tail) => Some((tail.number, tail.seal)),
            Mark::None => None,
            Mark::Unreadable => {
                faults.add(0, "the note of its newest entry in the data folder was changed");
                None
            }
        };
        let mut mark_was_met = marked.is_none_or(|(at, _)| at <= number);
        let mut said = Vec::new();
        loop {
            let page = self.store.audit_behind(instance, number, PAGE).await?;
            for record in &page {
                entries += 1;
                digest.add(record);
                if record.number != number + 1 {
                    faults.add(number + 1, "the entry is missing");
                } else if !record.is_as_written
                    || self.chain.of_entry(instance, record.number, &seal, &record.entry) != record.seal
                {
                    faults.add(record.number, "the entry was changed, or one in front of it");
                }
                (number, seal) = (record.number, record.seal);
                newest_was_met |= is_tail(wanted, number, &seal);
                mark_was_met |= is_tail(marked, number, &seal);
                if [SETTLED, FORGOTTEN].iter().any(|act| said_of(record, act).is_some()) {
                    said.push(record.clone());
                }
            }
            if (page.len() as u64) < u64::from(PAGE) {
                break;
            }
        }
        if !newest_was_met {
            faults.add(number + 1, "entries are missing at its end");
        }
        if !mark_was_met {
            faults.add(
                marked.map_or(0, |(number, _)| number),
                "an entry that this data folder has noted is not there, or is another one",
            );
        }
        let verified = Verified {
            instance: instance.to_owned(),
            entries,
            newest: number,
            newest_seal: hex(seal.get(..8).unwrap_or_default()),
            pruned: first,
        };
        Ok(Walked { verified, faults: faults.found, digest: digest.finish(), said })
    }
}

impl Audit {
    /// What stands in front of where a chain begins; nothing does, where nobody has put it there.
    async fn digest_in_front(&self, instance: &str, begin: u64, digest: &mut Digest<'_>) -> Result<(), StoreError> {
        let mut seen = 0;
        loop {
            let page = self.store.audit_in_front(instance, begin, seen, PAGE).await?;
            page.iter().for_each(|record| digest.add(record));
            seen += page.len() as u64;
            if (page.len() as u64) < u64::from(PAGE) {
                return Ok(());
            }
        }
    }
}

/// The faults of a chain, as they are found.
struct Faults<'a> {
    instance: &'a str,
    found: Vec<Broken>,
}

impl Faults<'_> {
    fn add(&mut self, number: u64, why: &'static str) {
        if self.found.len() < MOST_FAULTS {
            self.found.push(Broken { instance: self.instance.to_owned(), number, why });
        }
    }
}

/// What an entry says of a chain.
struct Settlement {
    settled: Settled,
    digest: String,
}

impl Settlement {
    fn read(record: &AuditRecord) -> Option<Self> {
        let instance = said_of(record, SETTLED)?;
        let details: Value = serde_json::from_str(&record.entry.details).ok()?;
        let text = |name: &str| details.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            digest: text("digest")?,
            settled: Settled {
                instance,
                number: details.get("number").and_then(Value::as_u64).unwrap_or_default(),
                why: text("why").unwrap_or_default(),
                at: record.entry.at,
                by: text("by").unwrap_or_default(),
                reason: text("reason"),
            },
        })
    }
}

/// The chain of which an entry says this.
fn said_of(record: &AuditRecord, act: &str) -> Option<String> {
    if record.entry.kind != AuditKind::Act || !record.entry.details.contains(act) {
        return None;
    }
    let details: Value = serde_json::from_str(&record.entry.details).ok()?;
    let is_said = details.get("act").and_then(Value::as_str) == Some(act);
    details.get("chain").and_then(Value::as_str).filter(|_| is_said).map(str::to_owned)
}
