//! What a login may do, and the proofs that it may: [`Permit`] and [`Cleared`].

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use crate::auth::{Origin, Refusal, SessionGuard};
use crate::base::{Mailbox, Protocol, TenantName};
use crate::store::{AppPasswordRecord, DeliveryMode, MailboxRecord, SenderScope};
use crate::wire::header::Senders;
use crate::wire::smtp::{MailFrom, Path, SIZE_LIMIT_OCTETS};

/// Proof that policy lets a login use this mailbox by this protocol. Only [`Auth::allow`](crate::auth::Auth::allow) makes one, and for
/// the administrator's own acts on a mailbox of the list `Permit::for_upkeep`.
///
/// ```compile_fail,E0451
/// let forged = postern::auth::Permit { mailbox: "ceo@contoso.test".parse().unwrap() };
/// ```
#[derive(Debug)]
pub struct Permit {
    mailbox: Mailbox,
    tenant: TenantName,
    account: Mailbox,
    protocol: Protocol,
    password_id: String,
    label: String,
    delivery: DeliveryMode,
    senders: SenderScope,
    recipients: Vec<String>,
    read_only: bool,
    drop_sent_append: bool,
    session: SessionGuard,
}

impl Permit {
    pub(in crate::auth) fn new(
        password: &AppPasswordRecord,
        mailbox: &MailboxRecord,
        protocol: Protocol,
        session: SessionGuard,
    ) -> Self {
        Self {
            mailbox: password.mailbox.clone(),
            tenant: mailbox.tenant.clone(),
            account: mailbox.account().clone(),
            protocol,
            password_id: password.id.clone(),
            label: password.label.clone(),
            delivery: password.delivery,
            senders: password.senders.clone(),
            recipients: password.scope.recipients.clone(),
            read_only: password.scope.read_only,
            drop_sent_append: password.scope.drop_sent_append,
            session,
        }
    }

    /// For what the administrator does with a mailbox of the list where no client is present, such as `doctor`. A disabled mailbox is for
    /// whoever asks to leave alone.
    pub(crate) fn for_upkeep(mailbox: &MailboxRecord, protocol: Protocol) -> Self {
        Self {
            mailbox: mailbox.address.clone(),
            tenant: mailbox.tenant.clone(),
            account: mailbox.account().clone(),
            protocol,
            password_id: String::new(),
            label: "upkeep".to_owned(),
            delivery: DeliveryMode::Direct,
            senders: SenderScope::default(),
            recipients: Vec::new(),
            read_only: false,
            drop_sent_append: false,
            session: SessionGuard::detached(),
        }
    }

    /// The mailbox that may be used; it stands as `user=` in the SASL string.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// The tenant of the mailbox.
    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// The account whose sign-in opens the mailbox under a delegated grant.
    pub fn account(&self) -> &Mailbox {
        &self.account
    }

    /// The protocol that it may be used by.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The public ID of the app password.
    pub fn password_id(&self) -> &str {
        &self.password_id
    }

    /// The administrator's name for the app password.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What becomes of messages submitted with it.
    pub fn delivery(&self) -> DeliveryMode {
        self.delivery
    }

    /// Who may stand as the sender of messages.
    pub fn senders(&self) -> &SenderScope {
        &self.senders
    }

    /// The envelope as it may go out, or the sender that it may not have.
    pub(in crate::auth) fn envelope(&self, mut mail: MailFrom) -> Result<MailFrom, String> {
        if let Some(sender) = mail.address() {
            if !Senders(self.senders.allowed.clone()).allow(sender) {
                return Err(sender.to_owned());
            }
            if self.senders.force_from {
                mail.path = Path::of_mailbox(&self.mailbox);
            }
        }
        Ok(mail)
    }

    /// Whether the mailbox may be read and nothing in it changed.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether copies of sent messages are dropped that a mail program files beside Exchange's own.
    pub fn drops_sent_copies(&self) -> bool {
        self.drop_sent_append
    }

    /// Whether a message may go to this address; `None` is the postmaster here.
    pub(in crate::auth) fn may_send_to(&self, address: Option<&str>) -> bool {
        if self.recipients.is_empty() {
            return true;
        }
        let address = address.unwrap_or_default().to_ascii_lowercase();
        // Exchange has taken another address out of such a local part (IMCEASMTP-x+40y@ours), and sent it there; however it is quoted.
        let is_wrapped = address.chars().filter(|c| !matches!(c, '"' | '\\')).take(5).eq("imcea".chars());
        self.recipients.iter().any(|allowed| match allowed.starts_with('@') {
            true => !is_wrapped && address.rfind('@').is_some_and(|at| address.get(at..) == Some(allowed.as_str())),
            false => *allowed == address,
        })
    }

    /// The registered session; it is told when the app password ends.
    pub fn session(&self) -> &SessionGuard {
        &self.session
    }
}

/// Proof that policy lets this envelope go out. Only [`Auth::clear`](crate::auth::Auth::clear) makes one.
#[derive(Debug)]
pub struct Cleared {
    mail: MailFrom,
}

impl Cleared {
    pub(in crate::auth) fn new(mail: MailFrom) -> Self {
        Self { mail }
    }

    /// The sender and the parameters of MAIL.
    pub fn mail(&self) -> &MailFrom {
        &self.mail
    }

    /// The same with room for some octets more than it has declared (RFC 1870), as lines are added to its header. More than Exchange takes
    /// at all is never declared.
    pub fn with_room(mut self, octets: u64) -> Self {
        let most = |size: u64| size.saturating_add(octets).min(SIZE_LIMIT_OCTETS.max(size));
        self.mail.size = self.mail.size.map(most);
        self
    }

    /// The same, for whoever keeps it.
    pub fn into_mail(self) -> MailFrom {
        self.mail
    }
}

/// Whether the app password may be used from here, by this protocol, now; else why not.
pub(in crate::auth) fn check(password: &AppPasswordRecord, origin: Origin, now: DateTime<Utc>) -> Option<Refusal> {
    // An IPv4 client on a socket for both families is the same client.
    let address = origin.address.to_canonical();
    let first = password.first_use.as_ref();
    if password.revoked_at.is_some() {
        Some(Refusal::Revoked)
    } else if password.expires_at.is_some_and(|end| end <= now) {
        Some(Refusal::Expired)
    } else if password.scope.starts_at.is_some_and(|start| start > now) {
        Some(Refusal::NotYet)
    } else if first.is_none() && password.scope.activate_by.is_some_and(|end| end <= now) {
        Some(Refusal::Lapsed)
    } else if !password.protocols.contains(&origin.protocol)
        || first.is_some_and(|first| password.scope.binds_protocol && first.protocol != origin.protocol)
    {
        Some(Refusal::Protocol)
    } else if first.is_some_and(|first| password.scope.binds_network && !first.network.contains(&address))
        || (!password.networks.is_empty() && !password.networks.iter().any(|network| network.contains(&address)))
    {
        Some(Refusal::Network)
    } else {
        None
    }
}

/// The network that a first login from this address is taken to be: this machine, the 256 addresses around it, or the /64 that a client of
/// IPv6 has for itself.
pub(in crate::auth) fn network_of(address: IpAddr) -> IpNet {
    let address = address.to_canonical();
    let bits = match address {
        IpAddr::V4(v4) if v4.is_loopback() => 8,
        IpAddr::V4(_) => 24,
        IpAddr::V6(v6) if v6.is_loopback() => 128,
        IpAddr::V6(_) => 64,
    };
    // No length is longer than its address.
    IpNet::new(address, bits).map_or_else(|_| IpNet::from(address), |network| network.trunc())
}
