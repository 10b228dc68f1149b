//! One connection from greeting to goodbye; the only file that knows every stage.
//!
//! The road: the front converses up to a claim, `auth` verifies it and allows it, the broker has a token, upstream opens the mailbox, and
//! only then does the client hear "OK"; then the relay joins the two ends. SMTP answers AUTH from the app password alone, opens
//! upstream at MAIL, and passes each message through `delivery`.

mod ending;
mod mail;
mod tls_wanted;
mod way;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};
use zeroize::Zeroize;

use crate::auth::{Auth, AuthError, Origin, Permit};
use crate::base::{Answer, ConnId, Fault, Protocol, Reference};
use crate::broker::Broker;
use crate::delivery::Delivery;
use crate::front::{Front, Setting, Step, WantOfTls, Welcome, imap, pop3, smtp};
use crate::listener::proxy_header::{self, HeaderError};
use crate::listener::tls::{Acceptor, ServerTls, meaning};
use crate::listener::{
    Admission, BeforeLogin, ClientStream, Incoming, Permits, Security, Settings as ListenerSettings,
};
use crate::relay::{self, End, Why, finish};
use crate::session::ending::Ending;
use crate::session::mail::Mail;
use crate::telemetry::audit::{Audit, LoginSeen};
use crate::telemetry::metrics;
use crate::telemetry::{Incidents, Whom};
use crate::upstream::{Opened, Upstream};
use crate::wire::imap::welcome_capabilities;
use crate::wire::sasl::Claim;
use crate::wire::watch::{SentWatch, Watch, legible_capabilities, reading_capabilities};

pub use self::tls_wanted::TlsPort;

/// How patient sessions are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in greetings.
    pub hostname: String,
    /// How long a connection may take until it is logged in, counted from when it came.
    pub login_time: Duration,
    /// How long the way to the mailbox may take to open, with every second attempt in it.
    pub way_time: Duration,
    /// How long an SMTP client may be silent between commands (RFC 5321, section 4.5.3.2.7).
    pub command_time: Duration,
    /// How long an SMTP client may be silent within a message.
    pub content_time: Duration,
    /// Where TLS is served, to be named for clients that came without.
    pub tls_ports: Vec<TlsPort>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "localhost".to_owned(),
            login_time: Duration::from_secs(60),
            way_time: Duration::from_secs(45),
            command_time: Duration::from_secs(300),
            content_time: Duration::from_secs(180),
            tls_ports: Vec::new(),
        }
    }
}

/// How long a load balancer may take to say whose connection it passes on.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// How long a client may take to accept what we say.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// The catalogue's name for a login without TLS where that is not allowed.
const TLS_WANTED: &str = "answer-tls-first";

/// How much of what still comes from a client that is sent away without a login is read; of others, all that comes in a second.
const UNREAD_OCTETS: usize = 256 * 1024;

/// Everything a session passes on its way.
pub struct Road {
    /// How many connections there may be.
    pub permits: Permits,
    /// Server TLS.
    pub tls: ServerTls,
    /// The gate.
    pub auth: Arc<Auth>,
    /// What stands behind the references that clients are given.
    pub incidents: Arc<Incidents>,
    /// Who logged in.
    pub audit: Arc<Audit>,
    /// Tokens.
    pub broker: Arc<Broker>,
    /// The way out.
    pub upstream: Arc<Upstream>,
    /// Messages.
    pub delivery: Delivery,
    /// How patient sessions are.
    pub settings: Settings,
    /// Cancelled when no new work is taken on.
    pub stopping: CancellationToken,
    /// Cancelled when what is under way is cut as well.
    pub cut: CancellationToken,
}

/// Serves a connection that came in.
pub async fn serve(road: Arc<Road>, mut incoming: Incoming, id: ConnId) {
    let settings = Arc::clone(&incoming.settings);
    if settings.is_from_balancer(incoming.peer) {
        let header = tokio::select! {
            header = timeout(HEADER_TIME, proxy_header::read(&mut incoming.stream)) => header,
            () = road.stopping.cancelled() => return,
        };
        match header {
            Ok(Ok(Some(client))) => incoming.peer = client,
            Ok(Ok(None)) => {}
            // Balancers also look whether a port is open, and say nothing.
            Ok(Err(HeaderError::Broken(error))) => {
                debug!(conn.id = id.0, client.addr = %incoming.peer.ip(), "a load balancer has gone away: {error}");
                return;
            }
            Ok(Err(HeaderError::None)) | Err(_) => {
                warn!(
                    conn.id = id.0,
                    protocol = %settings.protocol,
                    client.addr = %incoming.peer.ip(),
                    remedy = "Let the load balancer send it (`send-proxy-v2` in HAProxy), or take its address out of `proxy_protocol_from`.",
                    "a connection from an address in `proxy_protocol_from` does not begin with a header of the PROXY protocol"
                );
                return;
            }
        }
    }
    let peer = incoming.peer;
    let span =
        info_span!("conn", conn.id = id.0, protocol = %settings.protocol, client.addr = %peer.ip().to_canonical());
    async move {
        let is_banned = road.auth.banned_until(peer.ip()).is_some();
        let (admission, answer) = match is_banned {
            true => {
                metrics::login(settings.protocol, "address-banned");
                (road.permits.turn_away(), Answer::TooManyFailures)
            }
            false => (road.permits.admit(peer.ip()), Answer::TooManyConnections),
        };
        match admission {
            Admission::Admitted(permit, before_login) => {
                // Boxed apart, as is what turns clients away, so that a relay of hours does not carry the room that the login needed.
                if let Some(joined) = Box::pin(converse(&road, incoming, before_login)).await {
                    Box::pin(join(&road, joined, settings.protocol)).await;
                }
                drop(permit);
            }
            Admission::TurnedAway(permit) => {
                match is_banned {
                    true => debug!("a connection from a banned address is turned away"),
                    false => warn!("too many connections, one is turned away"),
                }
                drop(Box::pin(timeout(Duration::from_secs(5), turn_away(&road, incoming, answer))).await);
                drop(permit);
            }
            Admission::Dropped => debug!("too many connections, one is dropped"),
        }
    }
    .instrument(span)
    .await;
}

/// A client whose mailbox is open.
struct Joined {
    client: ClientStream,
    opened: Opened,
    rest: Vec<u8>,
    permit: Arc<Permit>,
    since: Instant,
}

fn front(road: &Road, settings: &ListenerSettings, client: std::net::IpAddr) -> Box<dyn Front> {
    let client = client.to_canonical();
    let setting = Setting {
        hostname: road.settings.hostname.clone(),
        secured: settings.security == Security::Implicit,
        starttls: settings.security == Security::StartTls,
        plaintext_login: settings.plaintext_from.iter().any(|network| network.contains(&client)),
    };
    match settings.protocol {
        Protocol::Imap => Box::new(imap::Imap::new(setting)),
        Protocol::Pop3 => Box::new(pop3::Pop3::new(setting)),
        Protocol::Smtp => Box::new(smtp::Smtp::new(setting)),
    }
}

async fn turn_away(road: &Road, incoming: Incoming, answer: Answer) {
    let front = front(road, &incoming.settings, incoming.peer.ip());
    let mut client = ClientStream::Clear(incoming.stream);
    if incoming.settings.security == Security::Implicit {
        match client.secure(&road.tls.acceptor(incoming.settings.protocol)).await {
            Ok(secured) => client = secured,
            Err(_) => return,
        }
    }
    finish(client, &front.farewell(answer), UNREAD_OCTETS).await;
}

/// The conversation up to login and, for SMTP, to its end. Gives what a relay joins.
async fn converse(road: &Road, incoming: Incoming, before_login: BeforeLogin) -> Option<Joined> {
    let began = Instant::now();
    let deadline = began + road.settings.login_time;
    let protocol = incoming.settings.protocol;
    let acceptor = road.tls.acceptor(protocol);
    let origin = Origin { address: incoming.peer.ip(), protocol };
    let mut front = front(road, &incoming.settings, incoming.peer.ip());
    let port = incoming.stream.local_addr().map_or(incoming.settings.address.port(), |address| address.port());
    let mut client = ClientStream::Clear(incoming.stream);
    let mut before_login = Some(before_login);
    if incoming.settings.security == Security::Implicit {
        client = secure(client, &acceptor, deadline, &road.stopping).await?;
    }
    let mut mail: Option<Mail> = None;
    let mut opened = None;
    let mut buffer = vec![0; 16 * 1024];
    let remedy = || tls_wanted::remedy(&incoming.settings, port, origin.address, &road.settings.tls_ports);
    let mut refused_without_tls = false;
    let mut half_said = false;

    let ending = loop {
        let step = front.step();
        if !refused_without_tls && front.want_of_tls() == Some(WantOfTls::Refused) {
            refused_without_tls = true;
            warn!(
                client.name = front.client_name(),
                code = TLS_WANTED,
                remedy = remedy(),
                "login refused: it came without TLS, which is not allowed from this address"
            );
        }
        match step {
            Step::Read => {
                let heard = match &mut mail {
                    None => {
                        tokio::select! {
                            read = timeout_at(deadline, client.read(&mut buffer)) => match read {
                                Ok(read) => Heard::Octets(read.unwrap_or(0)),
                                Err(_) => Heard::End(Ending::NoLogin),
                            },
                            () = road.stopping.cancelled() => Heard::End(Ending::Stopping),
                        }
                    }
                    Some(mail) => mail.read(road, &mut client, &mut buffer).await,
                };
                match heard {
                    Heard::Octets(0) => break Ending::ClientClosed,
                    Heard::Octets(count) => {
                        let octets = buffer.get_mut(..count).unwrap_or_default();
                        front.feed(octets);
                        if mail.is_none() {
                            octets.zeroize();
                        }
                    }
                    Heard::End(ending) => break ending,
                }
            }
            Step::Write(octets) => {
                let written = tokio::select! {
                    biased;
                    written = write(&mut client, &octets) => written,
                    ending = cut_off(road, mail.as_ref()) => {
                        half_said = true;
                        break ending;
                    }
                };
                if written.is_err() {
                    break Ending::Broken;
                }
            }
            Step::StartTls => {
                client = secure(client, &acceptor, deadline, &road.stopping).await?;
                front.secured();
            }
            Step::Check(claim) => {
                let name = front.client_name().map(str::to_owned);
                let verdict = tokio::select! {
                    verdict = check(road, claim, origin, (name.as_deref(), client.tls_version()), &mut before_login) => verdict,
                    () = road.cut.cancelled() => Err(Answer::Stopping),
                };
                match verdict {
                    Ok((permit, way)) => {
                        info!(
                            mailbox.id = %permit.mailbox(),
                            password.id = permit.password_id(),
                            password.label = permit.label(),
                            client.name = name,
                            tls = client.tls_version(),
                            took_ms = whole_ms(began.elapsed()),
                            "logged in"
                        );
                        let welcome = Welcome {
                            capabilities: way
                                .as_ref()
                                .map(|way| welcome_capabilities(&way.capabilities))
                                .map(|shown| match () {
                                    () if permit.is_read_only() => reading_capabilities(shown),
                                    () if permit.drops_sent_copies() => legible_capabilities(shown),
                                    () => shown,
                                })
                                .unwrap_or_default(),
                        };
                        match way {
                            Some(way) => opened = Some((way, permit)),
                            None => mail = Some(Mail::new(road, permit, client.is_secured())),
                        }
                        front.judge(Ok(welcome));
                    }
                    Err(answer) => front.judge(Err(answer)),
                }
            }
            Step::Transact(transact) => {
                let Some(mail) = &mut mail else { break Ending::Broken };
                match mail.step(road, transact).await {
                    Ok(Some(reply)) => front.reply(reply),
                    Ok(None) => {}
                    Err(ending) => break ending,
                }
            }
            Step::HandOver(rest) => {
                let (opened, permit) = opened?;
                return Some(Joined { client, opened, rest, permit, since: began });
            }
            Step::Close => break Ending::Goodbye,
        }
    };
    // Behind half of an answer nothing can be said.
    let last_words = match ending.answer() {
        Some(answer) if !half_said => front.farewell(answer),
        _ => Vec::new(),
    };
    match mail {
        Some(mail) => {
            // The client does not wait for our goodbye to Exchange.
            tokio::join!(mail.end(began, ending), finish(client, &last_words, usize::MAX));
        }
        None => {
            if let Some((_, permit)) = &opened {
                info!(
                    mailbox.id = %permit.mailbox(),
                    password.id = permit.password_id(),
                    took_ms = whole_ms(began.elapsed()),
                    "session ended: {ending}"
                );
            } else {
                debug!("the connection ends without a login: {ending}");
            }
            if front.want_of_tls() == Some(WantOfTls::Shown) && ending != Ending::Stopping {
                info!(
                    client.name = front.client_name(),
                    code = TLS_WANTED,
                    remedy = remedy(),
                    "left without a login: none was offered, since it came without TLS"
                );
            }
            drop(opened);
            finish(client, &last_words, UNREAD_OCTETS).await;
        }
    }
    None
}

/// What came from the client, or why we end the conversation.
enum Heard {
    /// So many octets; none is the end.
    Octets(usize),
    /// We end it.
    End(Ending),
}

/// Returns when a client that does not read is waited for no longer: before login when the service stops, after it when what is under way
/// is cut or the login holds no more.
async fn cut_off(road: &Road, mail: Option<&Mail>) -> Ending {
    match mail {
        Some(mail) => mail.cut_off(road).await,
        None => {
            road.stopping.cancelled().await;
            Ending::Stopping
        }
    }
}

async fn secure(
    client: ClientStream,
    acceptor: &Acceptor,
    deadline: Instant,
    stopping: &CancellationToken,
) -> Option<ClientStream> {
    let secured = tokio::select! {
        secured = timeout_at(deadline, client.secure(acceptor)) => secured,
        // Nothing can be said to a client in the middle of a handshake.
        () = stopping.cancelled() => return None,
    };
    match secured {
        Ok(Ok(client)) => Some(client),
        Ok(Err(error)) => {
            match meaning(&error) {
                Some((what, remedy)) => warn!(remedy, "no TLS with this client: {what}"),
                None => debug!("the client went away during the TLS handshake: {error}"),
            }
            None
        }
        Err(_) => {
            debug!("the client did not finish the TLS handshake in time");
            None
        }
    }
}

/// Finds out whether a claim holds and, for IMAP and POP3, opens the way to the mailbox.
async fn check(
    road: &Road,
    claim: Claim,
    origin: Origin,
    (client, tls): (Option<&str>, &str),
    before_login: &mut Option<BeforeLogin>,
) -> Result<(Arc<Permit>, Option<Opened>), Answer> {
    let named = shown(&claim.login);
    let seen = LoginSeen {
        address: origin.address,
        protocol: origin.protocol,
        client,
        tls: Some(tls),
        login: &named,
        mailbox: None,
        password_id: None,
    };
    let login = road.auth.verify(claim, origin).await.map_err(|error| refused(road, &error, seen))?;
    let permit = road.auth.allow(login, origin).map_err(|error| refused(road, &error, seen))?;
    metrics::login(permit.protocol(), "ok");
    road.auth.describe_use(&permit, client, tls);
    road.audit.login(LoginSeen { mailbox: Some(permit.mailbox()), password_id: Some(permit.password_id()), ..seen });
    // Whoever has the right password does not take a place from those who have not shown one, however long Exchange takes.
    drop(before_login.take());
    if permit.protocol() == Protocol::Smtp {
        return Ok((Arc::new(permit), None));
    }
    match way::open(road, &permit).await {
        Ok(opened) => Ok((Arc::new(permit), Some(opened))),
        Err(error) => Err(way::told(road, &error, &permit)),
    }
}

/// Logs a refused login once, with its real reason, and gives the client its answer.
fn refused(road: &Road, error: &AuthError, seen: LoginSeen<'_>) -> Answer {
    let answer = error.answer(Reference::fresh());
    if let Some(reference) = answer.reference() {
        let whom = Whom { mailbox: error.mailbox(), protocol: seen.protocol, password_id: error.password_id() };
        road.incidents.note(reference, whom, error);
    }
    let reference = answer.reference().map(tracing::field::display);
    metrics::login(seen.protocol, error.code());
    let password_id = error.password_id();
    if !matches!(error, AuthError::Store(_)) {
        let seen = LoginSeen { mailbox: error.mailbox(), password_id, ..seen };
        road.audit.login_refused(seen, error.code(), &error.to_string());
    }
    warn!(
        reference,
        login = seen.login,
        password.id = password_id,
        code = error.code(),
        remedy = error.remedy(),
        "login refused: {error}"
    );
    answer
}

/// Milliseconds as a number of the log: what is larger than 64 bits would stand there as a text.
fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A login name fit for the log. What does not look like one may be a password in the wrong field, and is left out.
fn shown(login: &[u8]) -> String {
    let looks_like_one = |text: &str| {
        let right = text.rsplit(['\\', '/']).next().unwrap_or(text);
        right.parse::<crate::base::Mailbox>().is_ok() && text.len() <= 254 && !text.chars().any(char::is_control)
    };
    match std::str::from_utf8(login) {
        Ok(text) if looks_like_one(text) => text.escape_debug().to_string(),
        _ => "(not an address)".to_owned(),
    }
}

async fn write(client: &mut ClientStream, octets: &[u8]) -> std::io::Result<()> {
    timeout(WRITE_TIME, async {
        client.write_all(octets).await?;
        client.flush().await
    })
    .await
    .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// The watcher of a session, where the app password wants one.
fn watch_of(road: &Road, permit: &Permit, capabilities: &[String]) -> Option<Watch> {
    if permit.is_read_only() {
        return Watch::of(permit.protocol());
    }
    if !permit.drops_sent_copies() || permit.protocol() != Protocol::Imap {
        return None;
    }
    let takes_unasked = capabilities.iter().any(|word| word.eq_ignore_ascii_case("LITERAL+"));
    let folder = road.delivery.sent_folder(permit)?;
    Some(Watch::Sent(Box::new(SentWatch::new(folder, takes_unasked))))
}

/// The relay, from login to goodbye.
async fn join(road: &Road, joined: Joined, protocol: Protocol) {
    let Joined { client, opened, rest, permit, since } = joined;
    let watch = watch_of(road, &permit, &opened.capabilities);
    drop(opened.capabilities); // told at the login, and of no more use
    let mut ended = None;
    let stop = async {
        let (why, answer) = tokio::select! {
            () = road.stopping.cancelled() => (Ending::Stopping, Answer::Stopping),
            why = permit.session().ended() => (Ending::Ended(why), Answer::Ended),
        };
        ended = Some(why);
        answer
    };
    let client = End { stream: client, already_read: rest };
    let server = End { stream: opened.stream, already_read: opened.left_over };
    let settings = relay::Settings::of(protocol);
    let (outcome, watch) = match watch {
        None => (relay::join(client, server, settings, stop).await, None),
        Some(watch) => {
            let is_filed = |copy| {
                let (delivery, permit) = (road.delivery.clone(), Arc::clone(&permit));
                async move { delivery.has_filed(&permit, &copy).await }
            };
            let (outcome, watch) = Box::pin(relay::join_watched(client, server, watch, is_filed, settings, stop)).await;
            (outcome, Some(watch))
        }
    };
    let refused_commands = watch.as_ref().filter(|_| permit.is_read_only()).map(Watch::refused);
    let dropped_copies = watch.as_ref().filter(|_| permit.drops_sent_copies()).map(Watch::dropped);
    let copies_pass = watch.as_ref().is_some_and(Watch::has_given_up).then_some(true);
    let why = match ended {
        Some(ending) if outcome.why == Why::Stopped => ending.to_string(),
        _ => outcome.why.name().to_owned(),
    };
    info!(
        mailbox.id = %permit.mailbox(),
        password.id = permit.password_id(),
        up_octets = outcome.up_octets,
        down_octets = outcome.down_octets,
        refused_commands,
        dropped_copies,
        copies_pass,
        took_ms = whole_ms(since.elapsed()),
        "session ended: {why}"
    );
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_login_name_is_logged_only_if_it_looks_like_one() {
        for (login, expected) in [
            (&b"alice@contoso.test"[..], "alice@contoso.test"),
            (b"alice@contoso.test\\shared@contoso.test", "alice@contoso.test\\\\shared@contoso.test"),
            (b"abcde-fghij-klmno-pqrst", "(not an address)"),
            (b"alice", "(not an address)"),
            (b"a\x1b[31m@x", "(not an address)"),
            (b"\xff@x", "(not an address)"),
        ] {
            assert_eq!(shown(login), expected);
        }
    }
}
