//! Messages of which it is unknown whether Exchange has them, as the connection was lost behind their final dot: before they are sent
//! again, they are looked for among the sent ones. The reasons are in `docs/decisions/0011-unknown-outcomes.md`.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::timeout;
use tracing::info;

use crate::auth::Permit;
use crate::base::{Fault, Protocol, Whose};
use crate::broker::BrokerError;
use crate::delivery::attempt::Outcome;
use crate::delivery::courier::Courier;
use crate::delivery::mark;
use crate::delivery::spool::SpoolError;
use crate::delivery::{Delivery, DeliveryError};
use crate::store::{
    AttemptEnd, Certainty, Doubt, Ending, JournalFilter, JournalOutcome, Obstacle, QueueState, QueuedMessage,
    RecipientState, Route,
};
use crate::upstream::reader::{self, ReadError};

/// How long Exchange may take to file the copy of a message.
pub(in crate::delivery) const FILING_TIME: chrono::Duration = chrono::Duration::minutes(2);

/// How long a look is tried again where the way to the mailbox is not open; and how often.
const LOOKING_TIME: chrono::Duration = chrono::Duration::hours(1);
const BETWEEN_LOOKS: chrono::Duration = chrono::Duration::minutes(1);

/// Behind a pause as long as this, the time in which a look is tried again begins anew.
const LONGEST_BETWEEN_LOOKS: chrono::Duration = chrono::Duration::minutes(10);

/// How long a look may take.
const LOOK_TIME: Duration = Duration::from_secs(60);

/// A message that was sent so many times although it might have arrived is held for the administrator instead of being sent once more.
const MOST_RESENT: u32 = 3;

/// The beginning of a message, with the `Received` that we have put in front.
const HEAD_OCTETS: usize = 4096;

/// What stands in the header of each message that went through us.
const OURS: &[u8] = b" (Postern)";

/// How many earlier messages are looked for, to see whether the mailbox keeps copies at all.
const EARLIER_MESSAGES: usize = 3;

/// What becomes of a message that may have arrived and cannot be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownOutcome {
    /// It is sent again: twice is better than never.
    #[default]
    Resend,
    /// It is held for the administrator.
    Hold,
}

/// What a look among the sent messages came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    /// The copies of these attempts are there, so Exchange has them.
    Found(Vec<u32>),
    /// It is not, and earlier ones are: Exchange does not have it.
    Absent,
    /// Nothing can be told.
    Unclear(String),
    /// Nothing can be told now.
    Later(String),
}

/// What is looked for.
struct Sought<'a> {
    /// The Message-ID, without angle brackets.
    id: &'a str,
    /// What stands in the headers of the copies that Exchange has filed, by attempt.
    marks: &'a [(u32, String)],
    /// How many transactions Exchange has taken beside those.
    copies: u32,
    /// Whether the marks are all the same: those of a report.
    are_alike: bool,
    /// The Message-IDs of messages that Exchange took before.
    earlier: &'a [String],
}

/// A message that could not be looked for.
#[derive(Clone, Copy)]
pub(in crate::delivery) struct Looking {
    /// When the attempt ended by which it may have arrived.
    unknown_at: Option<DateTime<Utc>>,
    /// When it could not be looked for, for the first time, and for the last.
    since: DateTime<Utc>,
    last: DateTime<Utc>,
}

/// What is to be done with a message now.
pub(in crate::delivery) enum Known {
    /// It is to be sent.
    Send {
        /// The message.
        message: Box<QueuedMessage>,
        /// Whether it may have arrived, and is sent all the same.
        again: bool,
    },
    /// It is not to be sent now; that is noted.
    Settled,
}

impl Courier {
    /// Finds out about a message whose outcome is unknown.
    pub(in crate::delivery) async fn know(&self, message: &QueuedMessage) -> Result<Known, DeliveryError> {
        let send = |again| Ok(Known::Send { message: Box::new(message.clone()), again });
        // Without a time of its own it is long ago.
        let unknown_at = message.unknown_at().unwrap_or(message.accepted_at);
        let now = self.clock.now();
        if !message.is_unknown() {
            return send(false);
        }
        if now < unknown_at + FILING_TIME {
            self.store.postpone_one(&message.id, unknown_at + FILING_TIME).await?;
            return Ok(Known::Settled);
        }
        let late = |_| Look::Later("it took too long".to_owned());
        let look = match timeout(LOOK_TIME, self.look(message)).await.unwrap_or_else(late) {
            // Sending would most likely fail in the same way; and what is sent now may be there twice.
            Look::Later(_) if now < self.looked_since(message, now) + LOOKING_TIME => {
                // From the end of the look on: others of its mailbox have their turn between two.
                self.store.postpone_one(&message.id, self.clock.now() + BETWEEN_LOOKS).await?;
                return Ok(Known::Settled);
            }
            Look::Later(why) => Look::Unclear(why),
            look => {
                self.looking.lock().unwrap_or_else(PoisonError::into_inner).remove(&message.id);
                look
            }
        };
        info!(mailbox.id = %message.mailbox, queue.id = message.id, ?look, "a message whose outcome was unknown was looked for");
        match look {
            Look::Found(found) => {
                let theirs = message.doubts.iter().filter(|doubt| found.contains(&doubt.attempt));
                let places: BTreeSet<usize> = theirs.flat_map(|doubt| message.in_doubt(doubt)).collect();
                let delivered =
                    |place| (place, RecipientState::Delivered, Some("found among the sent messages".to_owned()));
                let recipients = places.into_iter().map(delivered).collect();
                let outcome = Outcome { recipients, is_completing: true, found, ..Outcome::default() };
                self.delivery.note_attempt(message, &outcome.recipients, Route::Smtp);
                self.ended(message, Ending::Look, outcome).await?;
                Ok(Known::Settled)
            }
            // Whoever gives it up after an attempt in vain knows that it has not arrived.
            Look::Absent => {
                self.store.note_absent(&message.id).await?;
                let message = Box::new(QueuedMessage { doubts: Vec::new(), ..message.clone() });
                Ok(Known::Send { message, again: false })
            }
            // Not for ever: what is lost each time is most likely delivered each time.
            Look::Unclear(_)
                if self.settings.unknown_outcome == UnknownOutcome::Resend
                    && message.resent < MOST_RESENT
                    && !self.is_too_old(message) =>
            {
                send(true)
            }
            Look::Unclear(why) | Look::Later(why) => {
                self.hold_unknown(message, &why).await?;
                Ok(Known::Settled)
            }
        }
    }

    /// When a look at this message told nothing for the first time, as the way was not open.
    fn looked_since(&self, message: &QueuedMessage, now: DateTime<Utc>) -> DateTime<Utc> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        // Not those that are gone.
        looking.retain(|_, one| now < one.last + chrono::Duration::days(1));
        let first = Looking { unknown_at: message.unknown_at(), since: now, last: now };
        let known = looking.entry(message.id.clone()).or_insert(first);
        // Another attempt; a clock that was set back; or nobody looked for a while, as the mailbox was halted.
        if known.unknown_at != first.unknown_at || known.since > now || now - known.last > LONGEST_BETWEEN_LOOKS {
            *known = first;
        }
        known.last = now;
        known.since
    }

    async fn hold_unknown(&self, message: &QueuedMessage, why: &str) -> Result<(), DeliveryError> {
        let obstacle = Obstacle {
            code: "outcome-unknown".to_owned(),
            reason: format!("Exchange may have the message already, and whether it has cannot be found out: {why}"),
            remedy: Some(format!(
                "Ask a recipient whether it has arrived; then `postern queue drop {0}` if it has, and `postern queue release {0}` to send it \
                 again if not.",
                message.id
            )),
        };
        tracing::warn!(
            mailbox.id = %message.mailbox,
            queue.id = message.id,
            code = obstacle.code,
            remedy = obstacle.remedy,
            "{}",
            obstacle.reason
        );
        let now = self.clock.now();
        let end = AttemptEnd {
            of: Ending::Look,
            recipients: Vec::new(),
            is_taken: false,
            state: QueueState::Held,
            next_at: now,
            certainty: Certainty::AsBefore,
            obstacle: Some(obstacle),
        };
        self.store.end_attempt(&message.id, &end, now).await?;
        Ok(())
    }

    async fn look(&self, message: &QueuedMessage) -> Look {
        let Some(id) = message.message_id.as_deref().filter(|id| reader::is_searchable(id)) else {
            return Look::Unclear("it has no Message-ID to look for".to_owned());
        };
        if message.open_doubts().any(|doubt| doubt.places.is_empty()) {
            return Look::Unclear("for which of its recipients is not known".to_owned());
        }
        let marks = match self.marks(message).await {
            Ok(Some(marks)) => marks,
            Ok(None) => {
                return Look::Unclear(
                    "the message in the spool does not have the line by which its copy is known".to_owned(),
                );
            }
            Err(error) => return Look::Later(error.to_string()),
        };
        let permit = match self.auth.permit_for_queued(&message.mailbox, Protocol::Imap).await {
            Ok(permit) => permit,
            // Whoever disables it, or damages the store, wants nothing to be sent.
            Err(error) => return Look::Later(error.to_string()),
        };
        if self.delivery.without_copies.contains(permit.tenant()) {
            return Look::Unclear("High Volume Email keeps no copies of what is sent".to_owned());
        }
        let earlier = match self.earlier(message).await {
            Ok(earlier) => earlier,
            Err(error) => return Look::Later(error.to_string()),
        };
        let sought =
            Sought { id, marks: &marks, copies: message.copies, are_alike: message.is_report, earlier: &earlier };
        self.delivery.look_for(&permit, &sought).await.unwrap_or_else(|nothing| nothing)
    }

    /// What stands in the copies that Exchange files of this message by the attempts in doubt, and in none that a mail program files: what we
    /// have added to it.
    async fn marks(&self, message: &QueuedMessage) -> Result<Option<Vec<(u32, String)>>, SpoolError> {
        let mut reading = self.spool.read(&message.id).await?;
        let mut buffer = vec![0; HEAD_OCTETS];
        let head = reading.piece(&mut buffer).await?;
        let mark = |doubt: &Doubt| {
            // A report has its Message-ID from us, and nobody else knows it.
            let mark = if message.is_report { message.message_id.clone() } else { mark::mark(head, doubt.attempt) };
            Some((doubt.attempt, mark?))
        };
        Ok(message.open_doubts().map(mark).collect())
    }

    /// The Message-IDs of the newest messages that Exchange has taken from the mailbox long enough ago to have filed them.
    async fn earlier(&self, message: &QueuedMessage) -> Result<Vec<String>, DeliveryError> {
        self.delivery.journal.upkeep().await?;
        let filter = JournalFilter {
            since: Some(self.clock.now() - chrono::Duration::days(1)),
            before: Some(self.clock.now() - FILING_TIME),
            mailbox: Some(message.mailbox.clone()),
            outcome: Some(JournalOutcome::Delivered),
            with: None,
        };
        let entries = self.store.journal(&filter, 50).await?;
        let ids = entries.into_iter().filter_map(|entry| entry.message_id).filter(|id| reader::is_searchable(id));
        Ok(ids.filter(|id| message.message_id.as_ref() != Some(id)).take(EARLIER_MESSAGES).collect())
    }
}

impl Delivery {
    async fn look_for(&self, permit: &Permit, sought: &Sought<'_>) -> Result<Look, Look> {
        let is_marked = |mark: &[u8], header: &[u8]| memchr::memmem::find(header, mark).is_some();
        let of_fault = |fault: &dyn Fault, words: String| match fault.whose() {
            Whose::Nobody => Look::Later(words),
            _ => Look::Unclear(words),
        };
        let token = self.broker.token_for(permit).await.map_err(|error| match &*error {
            // What is wrong with us passes, or nothing can be sent either.
            BrokerError::Store(_) => Look::Later(error.to_string()),
            other => of_fault(other, error.to_string()),
        })?;
        let words = |error: ReadError| match &error {
            ReadError::Road(road) => of_fault(road, error.to_string()),
            _ => Look::Later(error.to_string()),
        };
        let mut session = self.upstream.reader(permit, &token, LOOK_TIME).await.map_err(words)?;
        let configured = self.sent_folders.get(permit.tenant()).map(String::as_str);
        let folder = reader::sent_folder(&mut session, configured).await.map_err(words)?;
        let missing = "the folder of sent messages was not found; `sent_folder` can name it";
        let folder = folder.ok_or_else(|| Look::Unclear(missing.to_owned()))?;
        // Never SELECT: what was not read is to stay so.
        session.examine(&folder).await.map_err(|error| Look::Later(error.to_string()))?;
        let mut look = Look::Unclear("the mailbox keeps no copies of what it sends, as far as is known".to_owned());
        let copies = reader::copies(&mut session, sought.id).await.map_err(words)?;
        let marked = |mark: &str| copies.iter().filter(|header| is_marked(mark.as_bytes(), header)).count();
        // Where the copies of all attempts look the same, those of earlier ones say nothing.
        let others = if sought.are_alike { sought.copies as usize } else { 0 };
        let found = sought.marks.iter().filter(|(_, mark)| marked(mark) > others);
        let found: Vec<u32> = found.map(|(attempt, _)| *attempt).collect();
        if !found.is_empty() {
            look = Look::Found(found);
        } else if sought.copies > 0 {
            // Whether Exchange files a second copy of what it has filed already is not known.
            look = Look::Unclear("Exchange has it for others, and may file no second copy".to_owned());
        } else if !copies.is_empty() {
            // Many mail programs file copies themselves as soon as they hear 250 from us.
            look = Look::Unclear("a copy is there, but a mail program may have filed it".to_owned());
        } else {
            for known in sought.earlier {
                // One that a mail program has filed does not say that Exchange files any.
                let copies = reader::copies(&mut session, known).await.map_err(words)?;
                if copies.iter().any(|header| is_marked(OURS, header)) {
                    look = Look::Absent;
                    break;
                }
            }
        }
        drop(timeout(Duration::from_secs(2), session.logout()).await);
        Ok(look)
    }
}
