//! One mailbox: its tokens, what they say, and the login by each protocol, first as `serve` does it, then by a client of others.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::admin::ops::doctor::graph::LetIn;
use crate::admin::ops::doctor::network::Ways;
use crate::admin::ops::doctor::smtp::Sender;
use crate::admin::ops::doctor::step::{Check, Outcome, Teller};
use crate::admin::ops::doctor::token::{self, Expected, Verdict};
use crate::admin::ops::doctor::{Desk, Doctor, imap};
use crate::auth::Permit;
use crate::base::catalogue::{self, Places};
use crate::base::{Fault, Mailbox, Protocol, Whose};
use crate::broker::{AccessToken, BrokerError};
use crate::config::{Route, Tenant};
use crate::store::MailboxRecord;
use crate::upstream::{Opened, UpstreamError};

/// How long one exchange with a client of others may take. Exchange looks for the mailbox server first, which costs it seconds.
pub(in crate::admin::ops::doctor) const PATIENCE: Duration = Duration::from_secs(45);

/// A token with less life than this from the start is refused by High Volume Email.
const SHORT_LIFE: Duration = Duration::from_secs(600);

/// A mailbox that is being looked at.
pub(in crate::admin::ops::doctor) struct Patient<'a> {
    pub(in crate::admin::ops::doctor) doctor: &'a Doctor<'a>,
    pub(in crate::admin::ops::doctor) desk: &'a Desk,
    pub(in crate::admin::ops::doctor) tenant: &'a Tenant,
    pub(in crate::admin::ops::doctor) record: &'a MailboxRecord,
    pub(in crate::admin::ops::doctor) teller: &'a Teller,
}

/// Protocols that one token serves.
#[derive(Clone)]
struct Group {
    protocols: Vec<Protocol>,
    delegated: bool,
    /// What it is asked for: the resource of a sign-in's scopes, which go together, or the application's scopes as they are.
    resource: String,
}

/// What the logins leave for the test mail.
#[derive(Default)]
pub(in crate::admin::ops::doctor) struct Proven {
    /// The way to send, with what is known to work.
    pub(in crate::admin::ops::doctor) sender: Option<Sender>,
    /// Whether the mailbox can be read by IMAP.
    pub(in crate::admin::ops::doctor) readable: bool,
    /// Whether and how Graph lets the mailbox in.
    pub(in crate::admin::ops::doctor) graph: Option<LetIn>,
}

impl Patient<'_> {
    pub(in crate::admin::ops::doctor) async fn examine(&self, ways: &Ways) {
        let mut groups = VecDeque::from(self.groups(ways));
        let mut alone = groups.len() == 1;
        let mut proven = Proven { graph: self.graph(ways).await, ..Proven::default() };
        while let Some(group) = groups.pop_front() {
            groups.extend(self.group(group, alone, ways, &mut proven).await);
            alone &= groups.is_empty();
        }
        if self.doctor.spoken().contains(&Protocol::Smtp) && !self.tenant.routes.contains(&Route::Smtp) {
            self.skip_all(&[Protocol::Smtp], "mail of this tenant goes by Graph alone (`routes`)");
        }
        if let Some(to) = &self.doctor.examination.send_test {
            self.send_test(to, proven).await;
        }
    }

    /// The protocols by the token that they share: the application's own, or the account's for one resource.
    fn groups(&self, ways: &Ways) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (protocol, _) in &ways.mail {
            let delegated = self.tenant.grants.of(*protocol).is_delegated();
            let scopes = self.tenant.endpoints.scopes.of(*protocol);
            let resource = if delegated { resource(scopes) } else { scopes.to_owned() };
            match groups.iter_mut().find(|group| group.delegated == delegated && group.resource == resource) {
                Some(group) => group.protocols.push(*protocol),
                None => groups.push(Group { protocols: vec![*protocol], delegated, resource }),
            }
        }
        groups
    }

    /// The token of a group, what it says, and the logins with it. Returned are those who turned out to have a token apart.
    async fn group(&self, mut group: Group, alone: bool, ways: &Ways, proven: &mut Proven) -> Vec<Group> {
        let protocol = group.protocols.first().copied().filter(|_| !alone && group.protocols.len() == 1);
        let Some(first) = group.protocols.first().copied() else { return Vec::new() };
        if !ways.token_service {
            self.teller.skip(Check::Token, protocol, "there is no way to the token service");
            self.skip_all(&group.protocols, "there is no token");
            return Vec::new();
        }
        let softens = self.softens(&group.protocols, proven);
        let token = async { self.token(first, &group).await.softened(softens) };
        let Some(token) = self.teller.run(Check::Token, protocol, token).await else {
            self.skip_all(&group.protocols, "there is no token");
            return Vec::new();
        };
        let apart = self.part(&mut group, &token).await;
        let protocols = self.with_scopes(&group);
        let expected = self.expected(&group, &protocols);
        let verdict = token.claims().map(|claims| token::judge(&claims, &expected)).unwrap_or_default();
        for seen in &verdict.seen {
            self.teller.tell(seen.check, seen.protocol, seen.state, seen.said.clone(), seen.remedy.clone());
        }
        for protocol in &group.protocols {
            let is_open = ways.mail.iter().any(|(one, open)| one == protocol && *open);
            let hopeless = verdict.hopeless.iter().find(|(one, _)| one == protocol);
            match hopeless {
                _ if !is_open => self.skip_all(&[*protocol], "there is no way to the host"),
                Some((_, why)) => self.skip_all(&[*protocol], why),
                None => self.by(*protocol, &group, &verdict, proven).await,
            }
        }
        apart
    }

    /// Takes those protocols out of a group that do not get this token: where not all of them were consented to, the broker asks for each
    /// by itself.
    async fn part(&self, group: &mut Group, token: &AccessToken) -> Vec<Group> {
        let mut apart = Vec::new();
        for protocol in std::mem::take(&mut group.protocols) {
            let same = match self.desk.broker.token_for(&self.permit(protocol)).await {
                Ok(other) => other.expose().expose() == token.expose().expose(),
                Err(_) => false,
            };
            match same {
                true => group.protocols.push(protocol),
                false => apart.push(Group { protocols: vec![protocol], ..group.clone() }),
            }
        }
        apart
    }

    fn with_scopes(&self, group: &Group) -> Vec<(Protocol, String)> {
        let scopes = |protocol: &Protocol| (*protocol, self.tenant.endpoints.scopes.of(*protocol).to_owned());
        group.protocols.iter().map(scopes).collect()
    }

    fn expected<'e>(&'e self, group: &Group, protocols: &'e [(Protocol, String)]) -> Expected<'e> {
        Expected {
            cloud: self.tenant.cloud,
            tenant_id: self.tenant.tenant_id.as_deref(),
            client_id: &self.tenant.client_id,
            account: group.delegated.then(|| self.record.account()),
            protocols,
        }
    }

    fn skip_all(&self, protocols: &[Protocol], why: &str) {
        for protocol in protocols {
            self.teller.skip(Check::Login, Some(*protocol), why);
        }
    }

    fn permit(&self, protocol: Protocol) -> Permit {
        Permit::for_upkeep(self.record, protocol)
    }

    async fn token(&self, protocol: Protocol, group: &Group) -> Outcome<AccessToken> {
        let token = match self.desk.broker.token_for(&self.permit(protocol)).await {
            Ok(token) => token,
            Err(error) => return Outcome::failed(error.to_string(), self.token_remedy(&error)),
        };
        let whose = match token.account() {
            Some(account) => format!("by the sign-in of {account}"),
            None => "the application's own".to_owned(),
        };
        let (left, length) = (token.life_left(), token.expose().expose().chars().count());
        let opaque = if token.claims().is_none() { "; it is opaque, so nothing can be read from it" } else { "" };
        let said = format!("{whose}, good for {} min, {length} characters{opaque}", left.as_secs().div_ceil(60));
        if let Some(remedy) = token::too_long_for_pop3(length, &group.protocols) {
            return Outcome::warning(format!("{said}: too many for POP3"), remedy, token);
        }
        if left < SHORT_LIFE {
            let remedy = "Look for a token lifetime policy in Entra ID, and at this machine's clock; IMAP sessions end with their token.";
            return Outcome::warning(said, remedy, token);
        }
        Outcome::ok(said, token)
    }

    pub(in crate::admin::ops::doctor) fn token_remedy(&self, error: &BrokerError) -> Option<String> {
        match error {
            // The command wants the mailbox, whoever's sign-in opens it.
            BrokerError::NotSignedIn { account } if *account != self.record.address => {
                Some(format!("Sign in as {account}: `postern mailbox connect {}`.", self.record.address))
            }
            error => error.remedy().or_else(|| {
                (error.whose() == Whose::Nobody).then(|| {
                    "It should pass by itself. If it lasts: Microsoft 365 admin centre, Health, Service health; and check `token_url` \
                     under [tenant.endpoints] if the configuration has one."
                        .to_owned()
                })
            }),
        }
    }

    /// Why it is no more than a warning where these do not work, if it is.
    fn softens(&self, protocols: &[Protocol], proven: &Proven) -> Option<&'static str> {
        let graph = proven.graph.as_ref().filter(|_| protocols == [Protocol::Smtp]);
        graph.and_then(|graph| graph.softens(&self.tenant.routes))
    }

    /// The login by one protocol and what lies behind it.
    async fn by(&self, protocol: Protocol, group: &Group, verdict: &Verdict, proven: &mut Proven) {
        let permit = self.permit(protocol);
        let softens = self.softens(&[protocol], proven);
        let login = async { self.log_in(&permit, group, verdict).await.softened(softens) };
        let Some(logged_in) = self.teller.run(Check::Login, Some(protocol), login).await else {
            let check = if protocol == Protocol::Smtp { Check::Sending } else { Check::Inbox };
            self.teller.skip(check, Some(protocol), "the login failed");
            return;
        };
        match logged_in {
            LoggedIn::Imap(token) => {
                let inbox = async {
                    match imap::inbox(&self.doctor.upstream, &permit, &token).await {
                        Ok(said) => Outcome::ok(said, ()),
                        Err(failed) => failed.outcome(),
                    }
                };
                proven.readable = self.teller.run(Check::Inbox, Some(protocol), inbox).await.is_some();
                self.is_over(protocol, proven.readable).await;
            }
            LoggedIn::Pop3(opened) => {
                let inbox = async {
                    match timeout(PATIENCE, stat(opened)).await {
                        Ok(Ok(said)) => Outcome::ok(said, ()),
                        Ok(Err(why)) => {
                            Outcome::failed(why, Some("Try again; it may be an outage of Exchange.".to_owned()))
                        }
                        Err(_) => silent(),
                    }
                };
                let readable = self.teller.run(Check::Inbox, Some(protocol), inbox).await.is_some();
                self.is_over(protocol, readable).await;
            }
            LoggedIn::Smtp { token, name } => {
                let sender = Sender { name, token, hostname: self.doctor.settings.hostname.clone() };
                let implicit = self.tenant.endpoints.smtp_tls == crate::config::SmtpTls::Implicit;
                let sending = async {
                    match sender.rehearse(&self.doctor.upstream, &permit, implicit).await {
                        Ok(said) => Outcome::ok(said, ()),
                        Err(failed) => failed.outcome().softened(softens),
                    }
                };
                let can_send = self.teller.run(Check::Sending, Some(protocol), sending).await.is_some();
                proven.sender = can_send.then_some(sender);
                self.is_over(protocol, can_send).await;
            }
        }
    }

    /// What `status` tells of a login that failed is over once one has succeeded, whoever did it.
    async fn is_over(&self, protocol: Protocol, works: bool) {
        if works {
            // Where the store cannot be written now, the next login of a mail program does it.
            drop(self.desk.store.clear_trouble(&self.record.address, protocol).await);
        }
    }

    async fn log_in(&self, permit: &Permit, group: &Group, verdict: &Verdict) -> Outcome<LoggedIn> {
        let token = match self.desk.broker.token_for(permit).await {
            Ok(token) => token,
            Err(error) => return Outcome::failed(error.to_string(), self.token_remedy(&error)),
        };
        let upstream = &self.doctor.upstream;
        let done = match permit.protocol() {
            Protocol::Smtp => {
                upstream.submission(permit, &token, false).await.map(|submission| (Some(submission), None))
            }
            Protocol::Imap | Protocol::Pop3 => upstream.open(permit, &token).await.map(|opened| (None, Some(opened))),
        };
        match done {
            Ok((Some(submission), _)) => {
                submission.quit().await;
                let name = upstream.submission_name(permit, &token).clone();
                let said = format!("let in as {name}");
                Outcome::ok(said, LoggedIn::Smtp { token, name })
            }
            Ok((None, Some(opened))) if permit.protocol() == Protocol::Pop3 => {
                Outcome::ok("let in", LoggedIn::Pop3(opened))
            }
            Ok((None, opened)) => {
                if let Some(opened) = opened {
                    part(opened, b"P9 LOGOUT\r\n").await;
                }
                Outcome::ok("let in, and the mailbox is there behind it", LoggedIn::Imap(token))
            }
            Err(error) => Outcome::failed(error.to_string(), self.login_remedy(&error, group, verdict)),
        }
    }

    /// What to do about a refused login, knowing what the token says.
    fn login_remedy(&self, error: &UpstreamError, group: &Group, verdict: &Verdict) -> Option<String> {
        let account = self.record.account();
        let places = Places {
            mailbox: Some(self.record.address.as_str()),
            client_id: Some(&self.tenant.client_id),
            object_id: if group.delegated { Some(account.as_str()) } else { verdict.object_id.as_deref() },
            ..Places::default()
        };
        match error {
            UpstreamError::TokenRejected { .. } => {
                let steps = match group.delegated {
                    true => catalogue::PERSON_NOT_LET_IN,
                    false => catalogue::APPLICATION_NOT_LET_IN,
                };
                let known = if verdict.without_permission.contains(&Protocol::Smtp) {
                    "The token has no permission for this (above): unless RBAC for Applications is set up, begin there. Then:"
                } else if group.delegated || verdict.seen.is_empty() {
                    "Exchange says the same for every cause. Check in this order:"
                } else {
                    "The token itself is right, as shown above, so the cause is in Exchange. Check in this order:"
                };
                Some(format!("{known}\n{}", catalogue::steps_text(steps, &places)))
            }
            UpstreamError::NotConnected { said, .. } => {
                let entry = catalogue::mailbox_answer(said).or_else(|| catalogue::by_code("imap-not-connected"));
                entry.map(|entry| entry.remedy_text(&places)).or_else(|| error.remedy())
            }
            UpstreamError::Denied { said, .. } => {
                let reply = said.split_once(' ').and_then(|(code, text)| Some((code.parse().ok()?, text)));
                let entry = reply.and_then(|(code, text)| catalogue::exchange_reply(code, text));
                entry.map(|entry| entry.remedy_text(&places)).or_else(|| error.remedy())
            }
            error => error.remedy().or_else(|| {
                Some(
                    "It should pass by itself. If it lasts: Microsoft 365 admin centre, Health, Service health."
                        .to_owned(),
                )
            }),
        }
    }

    /// Sends the test mail and looks for it.
    async fn send_test(&self, to: &Mailbox, proven: Proven) {
        let graph_first = self.tenant.routes.first() == Some(&Route::Graph);
        let sent = match (&proven.sender, &proven.graph) {
            (sender, Some(graph)) if graph_first || sender.is_none() => self.post_by_graph(to, &graph.token).await,
            (Some(sender), _) => self.post(to, sender).await,
            (None, _) => {
                let why = match self.doctor.spoken().contains(&Protocol::Smtp) {
                    true => "the mailbox cannot send",
                    false => "no listener speaks SMTP, so there is no way to send",
                };
                self.teller.skip(Check::TestMail, Some(Protocol::Smtp), why);
                None
            }
        };
        match sent {
            None => self.teller.skip(Check::Arrival, Some(Protocol::Imap), "no test mail was sent"),
            Some(_) if !proven.readable => {
                let why = "the mailbox cannot be read by IMAP; look for the mail yourself";
                self.teller.skip(Check::Arrival, Some(Protocol::Imap), why);
            }
            Some(mail) => self.look_for(&mail, to).await,
        }
    }
}

/// The resource that scopes are for: scheme and host of the first one that is an address.
fn resource(scopes: &str) -> String {
    let addresses = scopes.split(' ').filter_map(|scope| url::Url::parse(scope).ok());
    addresses.filter(url::Url::has_host).map(|url| url.origin().ascii_serialization()).next().unwrap_or_default()
}

/// What a login leaves for the next step.
enum LoggedIn {
    Imap(AccessToken),
    Pop3(Opened),
    Smtp { token: AccessToken, name: Mailbox },
}

/// Why a client of others could not do its part.
pub(in crate::admin::ops::doctor) enum Failed {
    /// The way there, as the road knows it.
    Road(UpstreamError),
    /// What was said or happened.
    Said {
        /// It, in words.
        said: String,
        /// What to do.
        remedy: Option<String>,
    },
    /// Nobody answered in time.
    Silent,
}

impl Failed {
    pub(in crate::admin::ops::doctor) fn outcome<T>(self) -> Outcome<T> {
        match self {
            Self::Road(error) => Outcome::of_fault(&error),
            Self::Said { said, remedy } => Outcome::failed(said, remedy),
            Self::Silent => silent(),
        }
    }
}

/// What another side said, fit to be shown: in one line, and not endless.
pub(in crate::admin::ops::doctor) fn in_one_line(text: &str) -> String {
    const LONGEST: usize = 400;
    text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn silent<T>() -> Outcome<T> {
    let remedy = "Try again; if it lasts, it is an outage: Microsoft 365 admin centre, Health, Service health.";
    Outcome::failed(format!("no answer within {} s", PATIENCE.as_secs()), Some(remedy.to_owned()))
}

/// Asks POP3 how many messages there are, and ends.
async fn stat(mut opened: Opened) -> Result<String, String> {
    const LONGEST_ANSWER_OCTETS: u64 = 1024;

    let failed = |error: std::io::Error| error.to_string();
    opened.stream.write_all(b"STAT\r\n").await.map_err(failed)?;
    opened.stream.flush().await.map_err(failed)?;
    let mut line = String::new();
    let mut stream = BufReader::new(tokio::io::AsyncReadExt::take(&mut opened.stream, LONGEST_ANSWER_OCTETS));
    stream.read_line(&mut line).await.map_err(failed)?;
    let mut words = line.split_whitespace();
    let counted = match (words.next(), words.next().map(str::parse::<u64>)) {
        (Some("+OK"), Some(Ok(count))) => Ok(format!("{count} messages (STAT)")),
        _ => Err(format!("STAT is answered `{}`", line.trim_end().escape_debug())),
    };
    part(opened, b"QUIT\r\n").await;
    counted
}

/// Says goodbye; whether anybody hears it does not matter.
async fn part(mut opened: Opened, word: &[u8]) {
    const LAST_WORDS_TIME: Duration = Duration::from_secs(2);

    let farewell = async {
        opened.stream.write_all(word).await?;
        opened.stream.shutdown().await
    };
    drop(timeout(LAST_WORDS_TIME, farewell).await);
}
