//! What Exchange takes from one mailbox: so many messages at once, so many in a minute, so many recipients in a day. More is not refused
//! by us but waits here, fairly between the app passwords of the mailbox, for as long as whoever asks has patience.
//!
//! A message counts from the moment it may begin until a minute after Exchange has answered it. Exchange counts it somewhere between, so
//! that our count is never the lower one.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::{Clock, Mailbox};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Recipients are counted by spans of this length, which bounds what a day of a busy mailbox costs.
const TALLY_SPAN: Duration = Duration::from_secs(300);

/// How long a mailbox is left alone after Exchange has slowed it down once; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause that we choose ourselves.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The longest pause that Exchange may ask for.
const LONGEST_ASKED_PAUSE: Duration = Duration::from_secs(3600);

/// How much Exchange takes from one mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages at once.
    pub at_once: usize,
    /// Messages in any 60 seconds.
    pub per_minute: usize,
    /// Recipients in any 24 hours.
    pub recipients_per_day: u64,
}

impl Default for Limits {
    /// Those of Exchange Online.
    fn default() -> Self {
        Self { at_once: 3, per_minute: 30, recipients_per_day: 10_000 }
    }
}

/// Which of them keeps a message waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Messages at once.
    AtOnce,
    /// Messages in a minute.
    PerMinute,
    /// Recipients in a day.
    PerDay,
    /// Exchange has asked for a pause.
    Pause,
    /// Earlier messages of the mailbox wait, and go first.
    Backlog,
}

/// No room within the patience of whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Why.
    pub limit: Limit,
    /// How long it will be at least until there is.
    pub wait: Duration,
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.limit {
            Limit::AtOnce => "Exchange takes no more messages of the mailbox at once",
            Limit::PerMinute => "the mailbox has sent as many messages as Exchange takes in a minute",
            Limit::PerDay => "the mailbox has sent to as many recipients as Exchange takes in a day",
            Limit::Pause => "Exchange has asked for a pause",
            Limit::Backlog => "earlier messages of the mailbox wait and go first",
        })
    }
}

/// Who asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks<'a> {
    /// A client with this app password, by its public ID. It would rather not wait behind messages that are in the queue.
    Client(&'a str),
    /// One whose message is not kept.
    Direct(&'a str),
    /// Whoever delivers what is kept.
    Courier,
}

/// The counts of all mailboxes.
#[derive(Debug)]
pub struct Governor {
    clock: Clock,
    counts: Mutex<HashMap<Mailbox, Counts>>,
}

/// Room for one message. It is given back when this goes.
#[derive(Debug)]
pub struct Room {
    governor: Arc<Governor>,
    mailbox: Mailbox,
    limits: Limits,
    recipients: u64,
    is_used: bool,
}

#[derive(Debug, Default)]
struct Counts {
    in_flight: usize,
    recipients_in_flight: u64,
    /// When the messages of the last minute were answered.
    answered: VecDeque<Duration>,
    /// The recipients of the last day: since when, how many.
    tally: VecDeque<(Duration, u64)>,
    paused_until: Duration,
    pauses: u32,
    has_backlog: bool,
    /// How often that was said.
    backlog_flags: u64,
    /// Who waits, by app password in the order of their turns.
    turns: VecDeque<(String, VecDeque<Arc<Notify>>)>,
}

impl Counts {
    /// Forgets what is too old to count.
    fn forget(&mut self, now: Duration) {
        while self.answered.front().is_some_and(|at| *at + MINUTE <= now) {
            self.answered.pop_front();
        }
        while self.tally.front().is_some_and(|(since, _)| *since + TALLY_SPAN + DAY <= now) {
            self.tally.pop_front();
        }
    }

    fn recipients(&self) -> u64 {
        self.recipients_in_flight + self.tally.iter().map(|(_, count)| count).sum::<u64>()
    }

    /// What stands in the way of the one that comes after `before` others.
    fn obstacle(&self, limits: &Limits, now: Duration, before: usize, who: Asks<'_>) -> Option<Waits> {
        let until = |limit, at: Duration| Waits { limit, wait: at.saturating_sub(now) };
        // Whoever keeps its messages itself hears from Exchange what it says, and the queue has pauses of its own.
        if self.paused_until > now && matches!(who, Asks::Client(_)) {
            return Some(until(Limit::Pause, self.paused_until));
        }
        if let Some(waits) = self.day_used_up(limits, now) {
            return Some(waits);
        }
        let counted = self.in_flight + self.answered.len() + before;
        if counted >= limits.per_minute {
            // As many have to be forgotten; those that are not answered yet will take a minute at least.
            let place = counted - limits.per_minute;
            return Some(until(Limit::PerMinute, self.answered.get(place).map_or(now, |at| *at) + MINUTE));
        }
        // How long the others take is not known.
        (self.in_flight + before >= limits.at_once).then_some(Waits { limit: Limit::AtOnce, wait: Duration::ZERO })
    }

    fn day_used_up(&self, limits: &Limits, now: Duration) -> Option<Waits> {
        (self.recipients() >= limits.recipients_per_day).then(|| {
            let first = self.tally.front().map_or(now + TALLY_SPAN, |(since, _)| *since + TALLY_SPAN + DAY);
            Waits { limit: Limit::PerDay, wait: first.saturating_sub(now) }
        })
    }

    fn waiting(&self) -> usize {
        self.turns.iter().map(|(_, tickets)| tickets.len()).sum()
    }

    fn is_first(&self, ticket: &Arc<Notify>) -> bool {
        self.turns.front().and_then(|(_, tickets)| tickets.front()).is_some_and(|first| Arc::ptr_eq(first, ticket))
    }

    fn line_up(&mut self, who: &str) -> Arc<Notify> {
        let ticket = Arc::new(Notify::new());
        match self.turns.iter_mut().find(|(name, _)| name == who) {
            Some((_, tickets)) => tickets.push_back(Arc::clone(&ticket)),
            None => self.turns.push_back((who.to_owned(), VecDeque::from([Arc::clone(&ticket)]))),
        }
        ticket
    }

    /// Takes a ticket out; its app password has had its turn if it was the first.
    fn leave(&mut self, ticket: &Arc<Notify>) {
        let was_first = self.is_first(ticket);
        for (_, tickets) in &mut self.turns {
            tickets.retain(|one| !Arc::ptr_eq(one, ticket));
        }
        if was_first {
            self.turns.rotate_left(1);
        }
        self.turns.retain(|(_, tickets)| !tickets.is_empty());
        self.wake_first();
    }

    fn wake_first(&self) {
        if let Some(first) = self.turns.front().and_then(|(_, tickets)| tickets.front()) {
            first.notify_one();
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0
            && self.answered.is_empty()
            && self.tally.is_empty()
            && self.turns.is_empty()
            && !self.has_backlog
    }
}

/// A place in the line, left when this goes.
struct Ticket<'a> {
    governor: &'a Governor,
    mailbox: &'a Mailbox,
    woken: Arc<Notify>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(counts) = self.governor.counts().get_mut(self.mailbox) {
            counts.leave(&self.woken);
        }
    }
}

impl Governor {
    /// A governor that has seen nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, counts: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Mailbox, Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock's time, with room before its beginning for a day that was before it.
    fn now(&self) -> Duration {
        self.clock.elapsed() + DAY + TALLY_SPAN
    }

    /// Room for a message of the mailbox, as soon as there is. It is given up at once where it is certain that `patience` will not do.
    ///
    /// # Errors
    /// [`Waits`] when there is none within `patience`.
    pub async fn room(
        self: &Arc<Self>,
        mailbox: &Mailbox,
        limits: Limits,
        who: Asks<'_>,
        patience: Duration,
    ) -> Result<Room, Waits> {
        let began = self.now();
        let ticket = {
            let mut counts = self.counts();
            let counts = counts.entry(mailbox.clone()).or_default();
            counts.forget(began);
            let name = match who {
                Asks::Client(_) if counts.has_backlog => {
                    return Err(Waits { limit: Limit::Backlog, wait: Duration::ZERO });
                }
                Asks::Client(password) | Asks::Direct(password) => password,
                Asks::Courier => "",
            };
            match counts.obstacle(&limits, began, counts.waiting(), who) {
                None => return Ok(self.taken(counts, mailbox, limits)),
                Some(waits) if waits.wait > patience => return Err(waits),
                Some(_) => {}
            }
            Ticket { governor: self, mailbox, woken: counts.line_up(name) }
        };
        loop {
            let (waits, is_first) = {
                let mut counts = self.counts();
                let counts = counts.entry(mailbox.clone()).or_default();
                let now = self.now();
                counts.forget(now);
                let is_first = counts.is_first(&ticket.woken);
                match counts.obstacle(&limits, now, 0, who) {
                    None if is_first => return Ok(self.taken(counts, mailbox, limits)),
                    obstacle => (obstacle.unwrap_or(Waits { limit: Limit::AtOnce, wait: Duration::ZERO }), is_first),
                }
            };
            let left = patience.saturating_sub(self.now().saturating_sub(began));
            if left.is_zero() || waits.wait > left {
                return Err(waits);
            }
            // Only the first in the line waits for the time; the others are woken when they have come so far.
            let nap = if is_first && !waits.wait.is_zero() { waits.wait.min(left) } else { left };
            tokio::select! {
                () = ticket.woken.notified() => {}
                () = self.clock.sleep(nap.max(Duration::from_millis(1))) => {}
            }
        }
    }

    fn taken(self: &Arc<Self>, counts: &mut Counts, mailbox: &Mailbox, limits: Limits) -> Room {
        counts.in_flight += 1;
        Room { governor: Arc::clone(self), mailbox: mailbox.clone(), limits, recipients: 0, is_used: false }
    }

    /// Exchange slows the mailbox down; `asked` is the pause that it asks for, if it does.
    pub fn slow_down(&self, mailbox: &Mailbox, asked: Option<Duration>) {
        let mut counts = self.counts();
        let counts = counts.entry(mailbox.clone()).or_default();
        let own = FIRST_PAUSE.saturating_mul(1 << counts.pauses.min(16)).min(LONGEST_PAUSE);
        let pause = asked.map_or(own, |asked| asked.min(LONGEST_ASKED_PAUSE).max(own));
        counts.pauses += 1;
        counts.paused_until = counts.paused_until.max(self.now() + pause);
    }

    /// Messages of the mailbox wait in the queue for its limits. What comes from clients meanwhile goes behind them.
    pub fn begin_backlog(&self, mailbox: &Mailbox) {
        let mut counts = self.counts();
        let counts = counts.entry(mailbox.clone()).or_default();
        counts.has_backlog = true;
        counts.backlog_flags += 1;
    }

    /// None waits any more, unless [`begin_backlog`](Self::begin_backlog) was called since `flag` was heard.
    pub fn end_backlog(&self, mailbox: &Mailbox, flag: u64) {
        if let Some(counts) = self.counts().get_mut(mailbox).filter(|counts| counts.backlog_flags == flag) {
            counts.has_backlog = false;
        }
    }

    /// The mailboxes of which messages wait in the queue, each with what [`end_backlog`](Self::end_backlog) wants to hear.
    pub fn backlogs(&self) -> Vec<(Mailbox, u64)> {
        let counts = self.counts();
        let flagged = counts.iter().filter(|(_, counts)| counts.has_backlog);
        flagged.map(|(mailbox, counts)| (mailbox.clone(), counts.backlog_flags)).collect()
    }

    /// Counts recipients that another process, or this one before its start, has sent to so long ago.
    pub fn count_earlier(&self, mailbox: &Mailbox, ago: Duration, recipients: u64) {
        let at = self.now().saturating_sub(ago);
        let mut counts = self.counts();
        let tally = &mut counts.entry(mailbox.clone()).or_default().tally;
        let place = tally.partition_point(|(since, _)| *since <= at);
        tally.insert(place, (at, recipients));
    }

    /// Forgets mailboxes that have sent nothing for a day.
    pub fn tidy(&self) {
        let now = self.now();
        self.counts().retain(|_, counts| {
            counts.forget(now);
            !counts.is_idle() || counts.paused_until > now
        });
    }
}

impl Room {
    /// One more recipient of the message.
    ///
    /// # Errors
    /// [`Waits`] when the day's are used up.
    pub fn recipient(&mut self) -> Result<(), Waits> {
        let now = self.governor.now();
        let mut counts = self.governor.counts();
        let counts = counts.entry(self.mailbox.clone()).or_default();
        counts.forget(now);
        if let Some(waits) = counts.day_used_up(&self.limits, now) {
            return Err(waits);
        }
        counts.recipients_in_flight += 1;
        self.recipients += 1;
        Ok(())
    }

    /// Exchange has not taken the last one.
    pub fn recipient_refused(&mut self) {
        self.recipients = self.recipients.saturating_sub(1);
        if let Some(counts) = self.governor.counts().get_mut(&self.mailbox) {
            counts.recipients_in_flight = counts.recipients_in_flight.saturating_sub(1);
        }
    }

    /// The message goes to Exchange now, and counts from here whatever becomes of it.
    pub fn used(&mut self) {
        self.is_used = true;
    }

    /// Exchange has taken the message: it does not slow the mailbox down any more.
    pub fn taken(&mut self) {
        if let Some(counts) = self.governor.counts().get_mut(&self.mailbox) {
            counts.pauses = 0;
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let now = self.governor.now();
        if let Some(counts) = self.governor.counts().get_mut(&self.mailbox) {
            counts.in_flight = counts.in_flight.saturating_sub(1);
            counts.recipients_in_flight = counts.recipients_in_flight.saturating_sub(self.recipients);
            if self.is_used {
                counts.answered.push_back(now);
                match counts.tally.back_mut() {
                    Some((since, count)) if *since + TALLY_SPAN > now => *count += self.recipients,
                    _ if self.recipients > 0 => counts.tally.push_back((now, self.recipients)),
                    _ => {}
                }
            }
            counts.wake_first();
        }
    }
}

#[cfg(test)]
mod tests;
