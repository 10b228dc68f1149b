//! The steps: what is looked at, what came of it, and how that is told while the next one is under way.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::base::{Fault, Mailbox, Protocol, TenantName};

/// What a step looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Whether the test mail arrived.
    Arrival,
    /// What the listener's port is used by.
    Listener,
    /// This machine's clock against the token service's.
    Clock,
    /// The configuration.
    Configuration,
    /// The addresses of a mail host.
    Dns,
    /// Whether Microsoft Graph lets the mailbox's token in.
    Graph,
    /// What a token for Graph allows.
    GraphPermission,
    /// A token for Graph.
    GraphToken,
    /// The inbox, by a client of others.
    Inbox,
    /// The login, as `serve` does it.
    Login,
    /// Whether the mailbox may be used here.
    Mailbox,
    /// What a mail host says to the mailbox as a sender, by a client of others.
    Sending,
    /// The addresses of the host where people sign in.
    SignInDns,
    /// The connection to it.
    SignInTcp,
    /// Its certificate.
    SignInTls,
    /// The store and its keys.
    Store,
    /// The connection to a mail host.
    Tcp,
    /// The test mail.
    TestMail,
    /// The certificate of a mail host.
    Tls,
    /// An access token.
    Token,
    /// Whose token it is.
    TokenAccount,
    /// What application the token was issued to.
    TokenApplication,
    /// What the token is for.
    TokenAudience,
    /// What the token allows.
    TokenPermission,
    /// The addresses of the token service.
    TokenServiceDns,
    /// The connection to the token service.
    TokenServiceTcp,
    /// The certificate of the token service.
    TokenServiceTls,
    /// The tenant that the token is from.
    TokenTenant,
}

impl Check {
    /// The name in documents; it does not change.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// What a person reads.
    pub fn title(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Arrival => ("arrival", "test mail's arrival"),
            Self::Listener => ("listener", "listener"),
            Self::Clock => ("clock", "this machine's clock"),
            Self::Configuration => ("configuration", "configuration"),
            Self::Dns => ("dns", "name"),
            Self::Graph => ("graph", "Microsoft Graph"),
            Self::GraphPermission => ("graph-permission", "Graph, permission"),
            Self::GraphToken => ("graph-token", "Graph, token"),
            Self::Inbox => ("inbox", "inbox"),
            Self::Login => ("login", "login"),
            Self::Mailbox => ("mailbox", "mailbox"),
            Self::Sending => ("sending", "sender"),
            Self::SignInDns => ("sign-in-dns", "sign-in page, name"),
            Self::SignInTcp => ("sign-in-tcp", "sign-in page, connection"),
            Self::SignInTls => ("sign-in-tls", "sign-in page, certificate"),
            Self::Store => ("store", "store and keys"),
            Self::Tcp => ("tcp", "connection"),
            Self::TestMail => ("test-mail", "test mail"),
            Self::Tls => ("tls", "certificate"),
            Self::Token => ("token", "token"),
            Self::TokenAccount => ("token-account", "token, account"),
            Self::TokenApplication => ("token-application", "token, application"),
            Self::TokenAudience => ("token-audience", "token, audience"),
            Self::TokenPermission => ("token-permission", "token, permission"),
            Self::TokenServiceDns => ("token-service-dns", "token service, name"),
            Self::TokenServiceTcp => ("token-service-tcp", "token service, connection"),
            Self::TokenServiceTls => ("token-service-tls", "token service, certificate"),
            Self::TokenTenant => ("token-tenant", "token, tenant"),
        }
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// It did not work.
    Failed,
    /// It worked.
    Ok,
    /// It was not tried.
    Skipped,
    /// It worked, but something is not as it should be.
    Warning,
}

impl StepState {
    /// The word in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
        }
    }
}

/// A step that has been taken, or left out.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it looked at.
    pub check: Check,
    /// The mailbox that it concerns, if one.
    pub mailbox: Option<Mailbox>,
    /// The tenant, if one.
    pub tenant: Option<TenantName>,
    /// The protocol, if one.
    pub protocol: Option<Protocol>,
    /// What came of it.
    pub state: StepState,
    /// How long it took.
    pub took: Duration,
    /// What was seen, or why it was not tried. It may quote the other side.
    pub said: String,
    /// What to do. It may have several lines.
    pub remedy: Option<String>,
}

/// A step begins or ends.
#[derive(Clone, Debug)]
pub enum Event {
    /// It begins.
    Begins {
        /// What it looks at.
        check: Check,
        /// The mailbox that it concerns, if one.
        mailbox: Option<Mailbox>,
        /// The protocol, if one.
        protocol: Option<Protocol>,
    },
    /// It has ended.
    Ended(Box<Step>),
}

/// What came of a piece of work, and what it leaves for later steps.
pub(in crate::admin::ops::doctor) struct Outcome<T> {
    state: StepState,
    said: String,
    remedy: Option<String>,
    value: Option<T>,
}

impl<T> Outcome<T> {
    /// It worked.
    pub(in crate::admin::ops::doctor) fn ok(said: impl Into<String>, value: T) -> Self {
        Self { state: StepState::Ok, said: said.into(), remedy: None, value: Some(value) }
    }

    /// It worked, but.
    pub(in crate::admin::ops::doctor) fn warning(said: impl Into<String>, remedy: impl Into<String>, value: T) -> Self {
        Self { state: StepState::Warning, said: said.into(), remedy: Some(remedy.into()), value: Some(value) }
    }

    /// It did not work.
    pub(in crate::admin::ops::doctor) fn failed(said: impl Into<String>, remedy: Option<String>) -> Self {
        Self { state: StepState::Failed, said: said.into(), remedy, value: None }
    }

    /// It did not work, and what comes later can be tried all the same.
    pub(in crate::admin::ops::doctor) fn failed_going_on(
        said: impl Into<String>,
        remedy: impl Into<String>,
        value: T,
    ) -> Self {
        Self { state: StepState::Failed, said: said.into(), remedy: Some(remedy.into()), value: Some(value) }
    }

    /// The same, but a failure is only a warning where there is a reason for that.
    pub(in crate::admin::ops::doctor) fn softened(self, why: Option<&str>) -> Self {
        match (self.state, why) {
            (StepState::Failed, Some(why)) => {
                Self { state: StepState::Warning, said: format!("{} ({why})", self.said), ..self }
            }
            _ => self,
        }
    }

    /// It did not work for a reason that the road knows.
    pub(in crate::admin::ops::doctor) fn of_fault(fault: &impl Fault) -> Self {
        Self::failed(fault.to_string(), fault.remedy())
    }
}

/// Tells the steps, each with what it concerns.
#[derive(Clone)]
pub(in crate::admin::ops::doctor) struct Teller {
    events: UnboundedSender<Event>,
    tenant: Option<TenantName>,
    mailbox: Option<Mailbox>,
}

impl Teller {
    /// About this machine.
    pub(in crate::admin::ops::doctor) fn new(events: UnboundedSender<Event>) -> Self {
        Self { events, tenant: None, mailbox: None }
    }

    /// About a tenant.
    pub(in crate::admin::ops::doctor) fn of_tenant(&self, tenant: &TenantName) -> Self {
        Self { tenant: Some(tenant.clone()), ..self.clone() }
    }

    /// About a mailbox.
    pub(in crate::admin::ops::doctor) fn about(&self, mailbox: &Mailbox) -> Self {
        Self { mailbox: Some(mailbox.clone()), ..self.clone() }
    }

    /// About a mailbox, to somebody else who passes it on in order.
    pub(in crate::admin::ops::doctor) fn of_mailbox(&self, mailbox: &Mailbox, events: UnboundedSender<Event>) -> Self {
        Self { events, ..self.about(mailbox) }
    }

    /// Tells what another teller has told.
    pub(in crate::admin::ops::doctor) fn pass_on(&self, event: Event) {
        // Nobody listens any more if the whole examination was given up.
        drop(self.events.send(event));
    }

    /// Takes a step and tells it; what it leaves for later steps, unless it failed.
    pub(in crate::admin::ops::doctor) async fn run<T>(
        &self,
        check: Check,
        protocol: Option<Protocol>,
        work: impl Future<Output = Outcome<T>>,
    ) -> Option<T> {
        self.pass_on(Event::Begins { check, mailbox: self.mailbox.clone(), protocol });
        let began = Instant::now();
        let outcome = work.await;
        self.ended(check, protocol, began.elapsed(), outcome)
    }

    /// Tells a step that took no time of its own.
    pub(in crate::admin::ops::doctor) fn tell(
        &self,
        check: Check,
        protocol: Option<Protocol>,
        state: StepState,
        said: String,
        remedy: Option<String>,
    ) {
        self.ended::<()>(check, protocol, Duration::ZERO, Outcome { state, said, remedy, value: None });
    }

    /// Tells a step that is not tried, and why.
    pub(in crate::admin::ops::doctor) fn skip(&self, check: Check, protocol: Option<Protocol>, why: &str) {
        self.tell(check, protocol, StepState::Skipped, format!("not tried: {why}"), None);
    }

    fn ended<T>(&self, check: Check, protocol: Option<Protocol>, took: Duration, outcome: Outcome<T>) -> Option<T> {
        let Outcome { state, said, remedy, value } = outcome;
        self.pass_on(Event::Ended(Box::new(Step {
            check,
            mailbox: self.mailbox.clone(),
            tenant: self.tenant.clone(),
            protocol,
            state,
            took,
            said,
            remedy,
        })));
        value
    }
}
