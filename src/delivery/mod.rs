//! 6b. SMTP: what becomes of a message. In `direct` mode it goes to Exchange while the client waits, and Exchange's own answers are what the
//! client hears; nothing is acknowledged before Exchange has acknowledged it.

mod assured;
mod attempt;
mod by_graph;
mod composing;
pub mod courier;
mod direct;
mod filed;
pub mod governor;
mod late;
pub mod live;
mod mark;
mod noted;
mod notice;
mod pool;
mod remedy;
mod report;
mod settling;
pub mod spool;
mod told;
pub mod unknown;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::auth::{AuthError, Cleared, Permit};
use crate::base::{Answer, Clock, Fault, Reference, TenantName, Whose};
use crate::broker::{Broker, BrokerError};
use crate::delivery::composing::{Arrival, Composing};
use crate::delivery::governor::Waits;
use crate::delivery::live::Traffic;
use crate::delivery::noted::Envelope;
use crate::delivery::spool::{Spool, SpoolError};
use crate::delivery::told::About;
use crate::store::{DeliveryMode, JournalOutcome, QueuedMessage, QueuedRecipient, Route, Store, StoreError};
use crate::telemetry::{Incidents, Journal};
use crate::upstream::graph::GraphError;
use crate::upstream::smtp::Submission;
use crate::upstream::{Upstream, UpstreamError};
use crate::wire::header::Unfit;
use crate::wire::smtp::{MailFrom, RcptTo, Reply};

pub use self::assured::Assured;
pub use self::courier::Courier;
pub use self::direct::Direct;
pub use self::filed::DroppedCopies;
pub use self::late::LateAnswers;
pub use self::notice::Notice;

/// What a delivery needs.
#[derive(Clone)]
pub struct Delivery {
    /// Where tokens come from.
    pub broker: Arc<Broker>,
    /// Where messages go.
    pub upstream: Arc<Upstream>,
    /// What stands behind the references that clients are given.
    pub incidents: Arc<Incidents>,
    /// What became of messages.
    pub journal: Arc<Journal>,
    /// How long the way to Exchange may take to open, with every second attempt in it. A client waits for its MAIL meanwhile.
    pub way_time: Duration,
    /// Our own name, in reports.
    pub hostname: String,
    /// The ways by which mail goes out, where they are not SMTP alone.
    pub routes: Arc<HashMap<TenantName, Vec<Route>>>,
    /// The folder of sent messages, for tenants that name it.
    pub sent_folders: Arc<HashMap<TenantName, String>>,
    /// The tenants whose mailboxes keep no copies of what they send.
    pub without_copies: Arc<HashSet<TenantName>>,
    /// The copies of mail programs that were dropped, or are not to be.
    pub dropped_copies: DroppedCopies,
    /// What Exchange takes from each mailbox, and the connections to it.
    pub traffic: Traffic,
    /// Where messages are kept that Exchange cannot take now.
    pub keeping: Keeping,
}

/// What keeping a message needs.
#[derive(Clone)]
pub struct Keeping {
    /// Their content.
    pub spool: Spool,
    /// The queue.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Clock,
    /// How long a client waits for Exchange before its message is kept instead.
    pub patience: Duration,
    /// Whoever delivers what is kept is told by this that there is something.
    pub wake: Arc<Notify>,
    /// Answers of Exchange to messages that are kept, as they came too late for the client.
    pub late: LateAnswers,
}

/// The deliveries of one session.
pub struct Delivering {
    delivery: Delivery,
    permit: Arc<Permit>,
    mode: Mode,
    arrival: Arrival,
    composing: Option<Composing>,
}

/// How, as its app password has it.
enum Mode {
    /// What Exchange cannot take now is kept.
    Assured(Box<Assured>),
    /// Nothing is kept.
    Direct(Box<Direct>),
}

/// A message cannot be taken on now.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No access token.
    #[error(transparent)]
    Broker(#[from] Arc<BrokerError>),
    /// The way to Exchange did not open in time.
    #[error("the way to Exchange did not open within {seconds} s")]
    Slow {
        /// How long we waited.
        seconds: u64,
    },
    /// Exchange has not answered to a whole message.
    #[error("Exchange has not answered to the message within {seconds} s")]
    Silent {
        /// How long we waited.
        seconds: u64,
    },
    /// No report can be made of a message that was not delivered, or no reminder.
    #[error("a mail of Postern's own cannot be made: {0}")]
    Report(String),
    /// Exchange's limits for the mailbox are used up.
    #[error("{0}")]
    Limits(Waits),
    /// Graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A message that is not kept cannot be sent now.
    #[error("{reason}")]
    Hindered {
        /// Why.
        reason: String,
        /// Whose move it is.
        whose: Whose,
    },
    /// The header of the message may not go on.
    #[error("{}", unfit(.0))]
    Unfit(Unfit),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The queue.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No connection to Exchange.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Fault for DeliveryError {
    fn code(&self) -> &'static str {
        match self {
            Self::Broker(error) => error.code(),
            Self::Slow { .. } | Self::Silent { .. } => "exchange-slow",
            Self::Report(_) => "report-not-made",
            Self::Limits(_) => "exchange-limits",
            Self::Graph(error) => error.code(),
            Self::Hindered { .. } => "message-not-sent",
            Self::Unfit(Unfit::Loop) => "mail-loop",
            Self::Unfit(Unfit::Sender(_)) => "sender-not-allowed",
            Self::Unfit(Unfit::UnclearSender) => "sender-unclear",
            Self::Spool(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Upstream(error) => error.code(),
        }
    }

    fn whose(&self) -> Whose {
        match self {
            Self::Broker(error) => error.whose(),
            Self::Slow { .. } | Self::Silent { .. } | Self::Limits(_) => Whose::Nobody,
            Self::Report(_) => Whose::Administrator,
            Self::Graph(error) => error.whose(),
            Self::Hindered { whose, .. } => *whose,
            Self::Unfit(_) => Whose::User,
            Self::Spool(error) => error.whose(),
            Self::Store(error) => error.whose(),
            Self::Upstream(error) => error.whose(),
        }
    }

    fn remedy(&self) -> Option<String> {
        match self {
            Self::Broker(error) => error.remedy(),
            Self::Slow { .. } | Self::Silent { .. } | Self::Limits(_) | Self::Hindered { .. } => None,
            Self::Graph(error) => error.remedy(),
            Self::Unfit(Unfit::Loop) => Some("Take the forwarding rule out that sends it back.".to_owned()),
            Self::Unfit(_) => Some(
                "Name an allowed sender in that program, or issue it an app password for more senders (`--sender`) or with `--force-from`."
                    .to_owned(),
            ),
            Self::Report(_) => Some("Tell the sender; `postern queue show ID` has the message's envelope.".to_owned()),
            Self::Spool(error) => error.remedy(),
            Self::Store(error) => error.remedy(),
            Self::Upstream(error) => error.remedy(),
        }
    }

    fn answer(&self, reference: Reference) -> Answer {
        match self {
            Self::Broker(error) => error.answer(reference),
            Self::Slow { .. } | Self::Silent { .. } | Self::Report(_) | Self::Limits(_) => Answer::TryLater(reference),
            Self::Graph(error) => error.answer(reference),
            Self::Hindered { whose: Whose::Nobody, .. } => Answer::TryLater(reference),
            Self::Hindered { .. } => Answer::MustAct(reference),
            Self::Unfit(Unfit::Loop) => Answer::MailLoop(reference),
            Self::Unfit(_) => Answer::SenderNotAllowed(reference),
            Self::Spool(error) => error.answer(reference),
            Self::Store(error) => error.answer(reference),
            Self::Upstream(error) => error.answer(reference),
        }
    }
}

impl Delivery {
    /// A delivery for the session of this permit, whose client is inside TLS or is not.
    pub fn begin(&self, permit: Arc<Permit>, is_secured: bool) -> Delivering {
        let by_graph = self.routes(&permit).first() == Some(&Route::Graph);
        let mode = match permit.delivery() {
            // Graph wants the whole message at once, so it has to be gathered; kept it is not.
            DeliveryMode::Direct if !by_graph => Mode::Direct(Box::new(Direct::new(self.clone(), Arc::clone(&permit)))),
            mode => Mode::Assured(Box::new(Assured::new(self.clone(), Arc::clone(&permit), mode))),
        };
        Delivering {
            delivery: self.clone(),
            permit,
            mode,
            arrival: Arrival { is_secured, ..Arrival::default() },
            composing: None,
        }
    }

    /// Takes from the journal to how many recipients each mailbox has sent in the last day.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count_last_day(&self) -> Result<(), DeliveryError> {
        let now = self.keeping.clock.now();
        for (mailbox, at, recipients) in self.keeping.store.sent_since(now - chrono::Duration::days(1)).await? {
            self.traffic.governor.count_earlier(&mailbox, (now - at).to_std().unwrap_or_default(), recipients);
        }
        Ok(())
    }

    /// An authenticated submission session. What comes of the login is noted for the administrator.
    async fn open(&self, permit: &Permit) -> Result<Submission, DeliveryError> {
        let late = DeliveryError::Slow { seconds: self.way_time.as_secs() };
        let began = tokio::time::Instant::now();
        let opened = timeout(self.way_time, self.log_in(permit)).await.unwrap_or(Err(late));
        let outcome = opened.as_ref().err().map_or("ok", |error| error.code());
        crate::telemetry::metrics::opened(permit.protocol(), outcome, began.elapsed());
        let trouble = opened.as_ref().err().map(|error| -> &dyn Fault { error });
        self.broker.report(permit, trouble).await;
        opened
    }

    /// Logs in. A token that is not accepted is replaced once.
    async fn log_in(&self, permit: &Permit) -> Result<Submission, DeliveryError> {
        let token = self.broker.token_for(permit).await?;
        match self.upstream.submission(permit, &token, false).await {
            Err(error) if error.wants_new_token() => {
                tracing::info!("{error}; trying once more with a new token");
                let token = self.broker.replace(permit, token).await?;
                Ok(self.upstream.submission(permit, &token, true).await?)
            }
            other => Ok(other?),
        }
    }
}

/// Whether the sender is another than the mailbox in a session that Exchange takes for the account behind it. That account may send as
/// itself and as others; the app password is the mailbox's alone.
fn is_foreign(submission: &Submission, permit: &Permit, sender: Option<&str>) -> bool {
    let mailbox = permit.mailbox();
    submission.user() != mailbox && sender.is_some_and(|sender| !sender.eq_ignore_ascii_case(mailbox.as_str()))
}

/// The sender of a message that waits; `None` is nobody, or one that cannot be read.
pub fn sender_of(message: &QueuedMessage) -> Option<String> {
    MailFrom::parse(message.mail.as_bytes()).ok().and_then(|mail| mail.address().map(str::to_owned))
}

/// The address of a recipient of a message that waits.
pub fn recipient_of(recipient: &QueuedRecipient) -> Option<String> {
    RcptTo::parse(recipient.rcpt.as_bytes()).ok().and_then(|rcpt| rcpt.address().map(str::to_owned))
}

fn unfit(unfit: &Unfit) -> String {
    match unfit {
        Unfit::Loop => "the message has passed fifty servers already".to_owned(),
        Unfit::Sender(sender) => format!("the app password may not send as {sender}"),
        Unfit::UnclearSender => "who stands in the From of the message cannot be told with certainty".to_owned(),
    }
}

/// What the lines that are added to a header may take at most, but for a sender's name that stands twice.
const ADDED_OCTETS: u64 = 2048;

impl Delivering {
    /// MAIL, with what policy said of it.
    pub async fn mail(&mut self, cleared: Result<Cleared, AuthError>) -> Reply {
        self.composing = None;
        let cleared = cleared.map(|cleared| cleared.with_room(ADDED_OCTETS));
        let mail = cleared.as_ref().ok().map(Cleared::mail);
        self.arrival.sender = mail.and_then(|mail| mail.address().map(str::to_owned));
        self.arrival.is_utf8 = mail.is_some_and(|mail| mail.smtputf8);
        match &mut self.mode {
            Mode::Assured(assured) => assured.mail(cleared).await,
            Mode::Direct(direct) => direct.mail(cleared).await,
        }
    }

    /// RCPT, with what policy said of going on.
    pub async fn recipient(&mut self, allowed: Result<(), AuthError>, recipient: &RcptTo) -> Reply {
        match &mut self.mode {
            Mode::Assured(assured) => assured.recipient(allowed, recipient).await,
            Mode::Direct(direct) => direct.recipient(allowed, recipient).await,
        }
    }

    /// DATA, with what policy said of going on.
    pub async fn data(&mut self, allowed: Result<(), AuthError>) -> Reply {
        let reply = match &mut self.mode {
            Mode::Assured(assured) => assured.data(allowed).await,
            Mode::Direct(direct) => direct.data(allowed).await,
        };
        if reply.is_intermediate() {
            self.arrival.by_account = match &self.mode {
                Mode::Assured(assured) => assured.is_of_account(),
                Mode::Direct(direct) => direct.is_of_account(),
            };
            let Delivery { hostname, keeping, .. } = &self.delivery;
            self.composing = Some(Composing::new(&self.permit, &self.arrival, hostname, &keeping.clock));
        }
        reply
    }

    /// A piece of the message. What goes wrong is told at its end.
    pub async fn content(&mut self, piece: &[u8]) {
        let Some(composing) = &mut self.composing else { return };
        if composing.is_through() {
            return self.pass(piece).await;
        }
        match composing.piece(piece) {
            Some(mended) if mended.is_empty() => {}
            Some(mended) => {
                self.identify();
                self.pass(&mended).await;
            }
            // What is refused must not be completed at Exchange, nor kept.
            None => self.abandon(),
        }
    }

    /// The end of the message, with what policy said of going on: the answer to it.
    pub async fn end(&mut self, allowed: Result<(), AuthError>) -> Reply {
        if let Err(error) = allowed {
            self.composing = None;
            self.abandon();
            let sender = self.arrival.sender.as_deref();
            let incidents = &self.delivery.incidents;
            return told::policy(&error, About { permit: &self.permit, incidents, sender, what: "the message" });
        }
        let rest = self.composing.as_mut().map_or(Ok(Vec::new()), Composing::end);
        let reply = match rest {
            Err(refusal) => {
                self.abandon();
                self.refused(&refusal)
            }
            Ok(rest) => {
                if !rest.is_empty() {
                    self.identify();
                    self.pass(&rest).await;
                }
                match &mut self.mode {
                    Mode::Assured(assured) => assured.end().await,
                    Mode::Direct(direct) => direct.end().await,
                }
            }
        };
        self.composing = None;
        reply
    }

    fn refused(&self, refusal: &DeliveryError) -> Reply {
        let sender = self.arrival.sender.as_deref();
        let envelope = Envelope::of_client(&self.permit, sender);
        self.delivery.note(envelope, JournalOutcome::Refused, Vec::new(), Some(refusal.to_string()));
        let incidents = &self.delivery.incidents;
        let about = About { permit: &self.permit, incidents, sender, what: "the message" };
        match refusal {
            DeliveryError::Unfit(Unfit::Sender(named)) if self.arrival.by_account && self.may_name(named) => {
                told::foreign_sender(about)
            }
            refusal => told::trouble(refusal, about),
        }
    }

    /// Whether the app password itself allows this sender.
    fn may_name(&self, sender: &str) -> bool {
        crate::wire::header::Senders(self.permit.senders().allowed.clone()).allow(sender)
    }

    async fn pass(&mut self, piece: &[u8]) {
        match &mut self.mode {
            Mode::Assured(assured) => assured.content(piece).await,
            Mode::Direct(direct) => direct.content(piece).await,
        }
    }

    /// The Message-ID is known.
    fn identify(&mut self) {
        let id = self.composing.as_ref().and_then(Composing::message_id).map(str::to_owned);
        if let Some(id) = id.as_deref()
            && self.composing.as_ref().is_some_and(Composing::is_encrypted)
        {
            self.delivery.spare_copy(self.permit.mailbox(), id);
        }
        match &mut self.mode {
            Mode::Assured(assured) => assured.identify(id),
            Mode::Direct(direct) => direct.identify(id),
        }
    }

    /// The message must not be completed.
    pub fn abandon(&mut self) {
        match &mut self.mode {
            Mode::Assured(assured) => assured.abandon(),
            Mode::Direct(direct) => direct.abandon(),
        }
    }

    /// Forgets the transaction.
    pub async fn reset(&mut self) {
        self.composing = None;
        match &mut self.mode {
            Mode::Assured(assured) => assured.reset().await,
            Mode::Direct(direct) => direct.reset().await,
        }
    }

    /// The session is over.
    pub async fn close(self) {
        match self.mode {
            Mode::Assured(assured) => assured.close().await,
            Mode::Direct(direct) => direct.close().await,
        }
    }
}
