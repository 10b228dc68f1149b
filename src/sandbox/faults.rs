//! The faults that the tenant can be told to have, by name, at start and while it runs.

mod kind;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::sandbox::faults::kind::Kind;

/// A fault was named wrongly, or given a value that it cannot have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no fault of that name.
    #[error("there is no fault `{name}`; `postern sandbox --list-faults` shows them all")]
    Unknown {
        /// The name given.
        name: String,
    },
    /// The fault needs a value, or does not take this one.
    #[error("the fault `{name}` takes {wants}")]
    Value {
        /// The fault.
        name: FaultName,
        /// What it takes, in words.
        wants: &'static str,
    },
}

macro_rules! faults {
    ($($variant:ident $name:literal $kind:expr, $description:literal;)*) => {
        /// The name of a fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum FaultName {
            $(#[doc = $description] $variant,)*
        }

        impl FaultName {
            /// Every fault, in the order in which a list should show them.
            pub const ALL: &'static [FaultName] = &[$(FaultName::$variant,)*];

            /// The name as it is written.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One line on what happens.
            pub fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)* }
            }

            fn kind(self) -> Kind {
                match self { $(Self::$variant => $kind,)* }
            }
        }
    };
}

faults! {
    TokenError "token-error" Kind::Text, "the token service refuses with this AADSTS number, or with this OAuth error and no number, such as invalid_client";
    TokenStatus "token-status" Kind::NeedsNumber, "the token service answers with this HTTP status, such as 429, 500 or 503";
    TokenRetryAfter "token-retry-after" Kind::NeedsNumber, "the refusal carries Retry-After with these seconds (429 unless token-status says otherwise)";
    TokenRetryAfterDate "token-retry-after-date" Kind::NeedsNumber, "the same with a date that is so many seconds ahead";
    TokenDelay "token-delay" Kind::NeedsNumber, "the token service answers after this many milliseconds";
    TokenHang "token-hang" Kind::Switch, "the token service takes the request and never answers";
    TokenGarbage "token-garbage" Kind::MaybeWord(&["deep"]), "the token service answers 200 with something that is not JSON (`deep`: 200,000 brackets)";
    TokenHtml "token-html" Kind::Switch, "the token service answers 200 with a web page";
    TokenEndless "token-endless" Kind::Switch, "the answer of the token service never ends";
    TokenRedirect "token-redirect" Kind::Switch, "the token service redirects (307) to another address";
    TokenClose "token-close" Kind::Switch, "the token service closes the connection without an answer";
    TokenExpiresIn "token-expires-in" Kind::Text, "expires_in: seconds, `string:SECONDS`, 0, a negative number, `huge` or `missing`; the token really lives that long if it is a plain number above 0, else an hour";
    TokenRefreshIn "token-refresh-in" Kind::NeedsNumber, "answers carry refresh_in with these seconds";
    TokenSize "token-size" Kind::NeedsNumber, "access tokens are padded to this many characters";
    TokenRoleless "token-roleless" Kind::Switch, "access tokens carry no permission";
    TokenWrongAudience "token-wrong-audience" Kind::Switch, "access tokens are for Microsoft Graph";
    SecretExpired "secret-expired" Kind::Switch, "the client secret has expired (7000222)";
    CertificateExpired "certificate-expired" Kind::Switch, "the certificates have expired (700027, `The key used is expired`)";
    AssertionRs256Only "assertion-rs256-only" Kind::Switch, "client assertions signed with PS256 are refused (700027), those with RS256 taken";
    FederationMissing "federation-missing" Kind::Switch, "no federated credential is registered, as for some minutes after it was added (70021)";
    FederatedLifetime "federated-lifetime" Kind::NeedsNumber, "the external issuer's tokens live this many seconds (86400; 0: they have expired)";
    RefreshRotation "refresh-rotation" Kind::Word(&["keep", "revoke-family"]), "`keep`: a refresh returns the same refresh token; `revoke-family`: a used one kills the whole family";

    AuthorizeAs "authorize-as" Kind::Address, "the sign-in page is not shown: this user signs in at once";
    AuthorizeError "authorize-error" Kind::NeedsNumber, "the sign-in page is not shown: it redirects with this AADSTS number, such as 65004";
    CodeLifetime "code-lifetime" Kind::NeedsNumber, "authorization codes live this many seconds (600)";
    DeviceAs "device-as" Kind::Address, "a device code is approved by this user after the first poll";
    DeviceBlocked "device-blocked" Kind::Switch, "Conditional Access blocks device codes: polls are refused (53003)";
    DeviceError "device-error" Kind::NeedsNumber, "the request for a device code is refused with this AADSTS number";
    DeviceInterval "device-interval" Kind::NeedsNumber, "the interval between polls for a device code in seconds (5)";
    DeviceLifetime "device-lifetime" Kind::NeedsNumber, "device codes live this many seconds (900)";
    DeviceSlowDown "device-slow-down" Kind::Times, "polls that come before the interval has passed hear slow_down; with a number so many polls hear it, whenever they come";
    PublicFlowsDisabled "public-flows-disabled" Kind::Switch, "`Allow public client flows` is off: device codes need a secret or certificate (7000218)";
    ConsentMissing "consent-missing" Kind::Text, "users' tokens are refused for these scopes or resources, separated by commas (65001)";
    RefreshInactive "refresh-inactive" Kind::MaybeAddresses, "refresh tokens have not been used for 90 days (700082)";

    GraphThrottle "graph-throttle" Kind::Number(10), "Graph answers 429 with this Retry-After, in seconds";
    GraphDenied "graph-denied" Kind::Switch, "Graph refuses every sender (403 ErrorAccessDenied), as without Mail.Send";
    GraphReply "graph-reply" Kind::Text, "Graph answers with this status and error code, such as `503 ServiceUnavailable`";
    GraphHang "graph-hang" Kind::Switch, "Graph never answers";
    GraphDropAfter "graph-drop-after" Kind::Times, "Graph takes the message and never answers";
    MailUnreachable "mail-unreachable" Kind::Switch, "all three mail ports close the connection at once";
    MailboxNoPermission "mailbox-no-permission" Kind::Addresses, "application tokens have no right on these mailboxes";
    TlsWrongName "tls-wrong-name" Kind::Switch, "the certificate of the mail servers is for another name";
    TlsUntrusted "tls-untrusted" Kind::Switch, "the certificate of the mail servers is from an unknown authority";
    TlsExpired "tls-expired" Kind::Switch, "the certificate of the mail servers has expired";

    SmtpAuthDisabled "smtp-auth-disabled" Kind::Switch, "SMTP AUTH is off for the tenant (535 5.7.139)";
    SmtpMailboxAuthDisabled "smtp-mailbox-auth-disabled" Kind::Addresses, "SMTP AUTH is off for these mailboxes (535 5.7.139)";
    SmtpSecurityDefaults "smtp-security-defaults" Kind::Switch, "security defaults forbid the login (535 5.7.139)";
    SmtpConditionalAccess "smtp-conditional-access" Kind::Switch, "a policy forbids the login (535 5.7.139, `did not meet the criteria`)";
    SmtpSharedRefused "smtp-shared-refused" Kind::Switch, "SMTP refuses a delegate's login to a shared mailbox (535 5.7.3); sending as it from the delegate's own goes on";
    SmtpAuth451 "smtp-auth-451" Kind::Times, "a good login is answered 451 4.7.0 ... PRX2";
    SmtpHve "smtp-hve" Kind::Switch, "SMTP is that of High Volume Email: tokens with under 600 seconds left (501 5.5.127), unknown users (501 5.5.124) and recipients outside (550 5.5.105) are refused, nothing is filed";
    SmtpAuthReject "smtp-auth-reject" Kind::Times, "SMTP refuses good tokens (535 5.7.3)";
    SmtpLoginReply "smtp-login-reply" Kind::Text, "a good login is answered with this whole reply, such as `454 4.7.0 Temporary authentication failure`";
    SmtpRecipientReply "smtp-recipient-reply" Kind::Text, "RCPT is answered with this whole reply";
    SmtpRecipientEvery "smtp-recipient-every" Kind::NeedsNumber, "every so many-th RCPT is answered 452 4.5.3";
    SmtpDataReply "smtp-data-reply" Kind::Text, "DATA is answered with this whole reply, and nothing is read";
    SmtpMessageReply "smtp-message-reply" Kind::Text, "the complete message is answered with this whole reply";
    SmtpBanner421 "smtp-banner-421" Kind::Times, "SMTP greets with 421 and closes";
    SmtpNoStarttls "smtp-no-starttls" Kind::Switch, "SMTP does not offer STARTTLS";
    SmtpStarttls454 "smtp-starttls-454" Kind::Times, "SMTP answers STARTTLS with 454";
    SmtpStarttlsInject "smtp-starttls-inject" Kind::Switch, "answers in clear follow the 220 of STARTTLS, as an attacker would add them";
    SmtpChallengeJson "smtp-challenge-json" Kind::Times, "SMTP sends a 334 with base64 JSON before it refuses a login";
    SmtpMail451 "smtp-mail-451" Kind::Times, "MAIL is answered 451 4.7.0 ... PRX2";
    SmtpConcurrent432 "smtp-concurrent-432" Kind::Times, "the message is answered 432 4.3.2 (too many at once)";
    SmtpPerMinute "smtp-per-minute" Kind::Number(30), "more messages of a mailbox than this in any 60 seconds are answered 432 4.3.2";
    SmtpPerMinuteDelay "smtp-per-minute-delay" Kind::Number(30), "as smtp-per-minute, but the answer waits until the message fits in";
    SmtpRecipientsPerDay "smtp-recipients-per-day" Kind::Number(10_000), "more recipients of a mailbox than this in any 24 hours are answered 554 5.2.0 (submission quota)";
    SmtpPrxEvery "smtp-prx-every" Kind::NeedsNumber, "of MAIL and messages together every so many-th is answered 451 4.7.0 ... PRX4, or MAIL with 421 4.3.2 and the end";
    SmtpSlowAnswers "smtp-slow-answers" Kind::NeedsNumber, "the answers to MAIL, RCPT and DATA take this many milliseconds each";
    SmtpBdatStall "smtp-bdat-stall" Kind::Switch, "the answer to BDAT never comes";
    SmtpQuota "smtp-quota" Kind::Times, "the message is answered 554 5.2.0 (submission quota)";
    SmtpMailboxFull "smtp-mailbox-full" Kind::Times, "the message is answered 554 5.2.2 (the sender's mailbox is full)";
    SmtpDailyLimit "smtp-daily-limit" Kind::Times, "the message is answered 550 5.1.90 (daily recipients)";
    SmtpBadSender "smtp-bad-sender" Kind::Times, "the message is answered 550 5.1.8 (the mailbox is restricted for spam)";
    SmtpNoSendPermission "smtp-no-send-permission" Kind::Times, "the message is answered 550 5.7.60 (no right to send as the sender)";
    SmtpSendAsDenied "smtp-send-as-denied" Kind::Times, "the message is answered 554 5.2.252 in one line of over 1,000 octets";
    SmtpSizeLimit "smtp-size-limit" Kind::NeedsNumber, "messages over this many octets are refused when they are complete (552 5.3.4)";
    SmtpDropAfterData "smtp-drop-after-data" Kind::Times, "the connection is cut after the final dot; the message is kept";
    SmtpDropLost "smtp-drop-lost" Kind::Times, "the connection is cut after the final dot; the message is lost";
    SmtpDropMidData "smtp-drop-mid-data" Kind::Times, "the connection is cut in the middle of a message";
    SmtpSilent "smtp-silent" Kind::Switch, "SMTP accepts connections and says nothing";
    SmtpRejectRecipient "smtp-reject-recipient" Kind::Addresses, "these recipients are refused (550 5.1.10)";
    SmtpJunk "smtp-junk" Kind::Switch, "messages are delivered to Junk Email instead of the inbox";
    SmtpLost "smtp-lost" Kind::Switch, "messages are accepted and delivered nowhere, as when a filter holds them back";
    SmtpNoCopy "smtp-no-copy" Kind::Switch, "no copy of a message is filed in Sent Items";
    SmtpSentFolder "smtp-sent-folder" Kind::Text, "copies are filed in a folder of this name, in modified UTF-7, as in a mailbox of another language";
    SmtpSlowData "smtp-slow-data" Kind::NeedsNumber, "the answer to a complete message takes this many milliseconds";

    ImapNotConnected "imap-not-connected" Kind::MaybeAddresses, "IMAP says OK to the login and then `User is authenticated but not connected.`";
    ImapAuthReject "imap-auth-reject" Kind::Times, "IMAP refuses good tokens";
    ImapTokenExpires "imap-token-expires" Kind::NeedsNumber, "IMAP sessions end with AccessTokenExpired this many seconds after login, however long the token lives";
    ImapThrottle "imap-throttle" Kind::Number(299_609), "commands after login are throttled for this many milliseconds, then the connection is closed";
    ImapSearchRefused "imap-search-refused" Kind::Times, "SEARCH is answered `NO Server Unavailable. 15`";
    ImapSlowAnswers "imap-slow-answers" Kind::NeedsNumber, "commands after login wait for this many milliseconds, or until the fault is cleared";
    ImapLoginReply "imap-login-reply" Kind::Text, "a good login is answered with this, such as `NO Server Unavailable. 15` (with `* BYE ...` the connection is closed)";
    ImapReply "imap-reply" Kind::Text, "every command after login is answered with this, such as `BAD Command Argument Error. 11`";
    ImapByeGreeting "imap-bye-greeting" Kind::Times, "IMAP greets with BYE and closes";
    ImapPreauth "imap-preauth" Kind::Switch, "IMAP greets with PREAUTH";
    ImapGreeting2026 "imap-greeting-2026" Kind::Switch, "IMAP shows the greeting and the capabilities of the front end of 2026";
    ImapEstimatedSize "imap-estimated-size" Kind::Switch, "RFC822.SIZE is an estimate, as it is for mailboxes that are not set to exact sizes";
    ImapSilent "imap-silent" Kind::Switch, "IMAP accepts connections and says nothing";
    ImapDropAfterLogin "imap-drop-after-login" Kind::Times, "IMAP closes the connection after its OK to the login";
    ImapChallengeJson "imap-challenge-json" Kind::Times, "IMAP sends base64 JSON before it refuses a login";
    ImapEndlessLine "imap-endless-line" Kind::MaybeWord(&["login"]), "the greeting of IMAP never ends (`login`: the answer to the login)";

    PopAuthReject "pop-auth-reject" Kind::Times, "POP3 refuses good tokens";
    PopLoginReply "pop-login-reply" Kind::Text, "a good login is answered with this, such as `-ERR [SYS/TEMP] Try later`";
    PopSilent "pop-silent" Kind::Switch, "POP3 accepts connections and says nothing";
    PopGreeting2026 "pop-greeting-2026" Kind::Switch, "POP3 shows the greeting of the front end of 2026";
    PopLongToken "pop-long-token" Kind::Switch, "POP3 takes tokens of over 4,096 characters for a protocol error";
}

impl FaultName {
    /// What may stand behind its `=`, in words.
    pub fn value(self) -> &'static str {
        self.kind().wants()
    }

    fn check(self, value: Option<&str>) -> Result<(), FaultError> {
        let kind = self.kind();
        if kind.allows(value) { Ok(()) } else { Err(FaultError::Value { name: self, wants: kind.wants() }) }
    }
}

impl fmt::Display for FaultName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FaultName {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        Self::ALL
            .iter()
            .copied()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| FaultError::Unknown { name: text.to_owned() })
    }
}

/// Reads `NAME` or `NAME=VALUE`, as it is given to `postern sandbox --fault`.
///
/// # Errors
///
/// When there is no fault of that name, or it cannot have that value.
pub fn read_fault(text: &str) -> Result<(FaultName, Option<String>), FaultError> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let name: FaultName = name.parse()?;
    name.check(value)?;
    Ok((name, value.map(str::to_owned)))
}

/// The faults that hold now.
#[derive(Debug, Default)]
pub struct Faults {
    held: Mutex<BTreeMap<FaultName, Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    value: Option<String>,
    /// How often it still happens; `None` is always.
    left: Option<u64>,
}

impl Faults {
    /// Switches a fault on, or gives it another value.
    ///
    /// # Errors
    ///
    /// When the fault needs a value, or cannot have this one.
    pub fn set(&self, name: FaultName, value: Option<&str>) -> Result<(), FaultError> {
        name.check(value)?;
        let left = match name.kind() {
            Kind::Times => value.and_then(|value| value.parse().ok()),
            _ => None,
        };
        self.held().insert(name, Held { value: value.map(str::to_owned), left });
        Ok(())
    }

    /// Switches a fault off.
    pub fn clear(&self, name: FaultName) {
        self.held().remove(&name);
    }

    /// Switches all faults off.
    pub fn clear_all(&self) {
        self.held().clear();
    }

    /// The faults that hold now, with their values.
    pub fn list(&self) -> Vec<(FaultName, Option<String>)> {
        self.held().iter().map(|(name, held)| (*name, held.value.clone())).collect()
    }

    /// Whether it holds. Does not use up a fault that is given a number of times.
    pub(super) fn holds(&self, name: FaultName) -> bool {
        self.held().get(&name).is_some_and(|held| held.left != Some(0))
    }

    /// Whether it happens now; one of its times is used up by asking.
    pub(super) fn strikes(&self, name: FaultName) -> bool {
        match self.held().get_mut(&name) {
            None | Some(Held { left: Some(0), .. }) => false,
            Some(Held { left: Some(left), .. }) => {
                *left -= 1;
                true
            }
            Some(Held { left: None, .. }) => true,
        }
    }

    /// Its value as written, where it holds and has one.
    pub(super) fn text(&self, name: FaultName) -> Option<String> {
        self.held().get(&name).and_then(|held| held.value.clone())
    }

    /// Its value as a number, where it holds.
    pub(super) fn number(&self, name: FaultName) -> Option<u64> {
        let held = self.held();
        let held = held.get(&name)?;
        match (&held.value, name.kind()) {
            (Some(value), _) => value.parse().ok(),
            (None, Kind::Number(default)) => Some(default),
            (None, _) => None,
        }
    }

    /// Whether it holds for this address: it names it, or it holds for everyone.
    pub(super) fn concerns(&self, name: FaultName, address: &str) -> bool {
        self.held().get(&name).is_some_and(|held| match &held.value {
            None => true,
            Some(addresses) => addresses.split(',').any(|named| named.trim().eq_ignore_ascii_case(address)),
        })
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<FaultName, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_the_name_it_shows_and_says_what_it_does_in_one_line() {
        for fault in FaultName::ALL.iter().copied() {
            assert_eq!(fault.to_string().parse(), Ok(fault));
            assert!(!fault.description().contains('\n') && fault.description().len() > 10, "{fault}");
            assert!(fault.name().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{fault}");
        }
        assert_eq!("tls-odd".parse::<FaultName>(), Err(FaultError::Unknown { name: "tls-odd".into() }));
    }

    #[test]
    fn a_fault_refuses_a_value_it_cannot_have() {
        let faults = Faults::default();
        for (name, value, taken) in [
            (FaultName::TokenHang, None, true),
            (FaultName::TokenHang, Some("5"), false),
            (FaultName::TokenStatus, Some("503"), true),
            (FaultName::TokenStatus, None, false),
            (FaultName::TokenStatus, Some("bad"), false),
            (FaultName::SmtpAuthReject, None, true),
            (FaultName::SmtpAuthReject, Some("2"), true),
            (FaultName::SmtpAuthReject, Some("-2"), false),
            (FaultName::RefreshRotation, Some("keep"), true),
            (FaultName::RefreshRotation, Some("never"), false),
            (FaultName::SmtpRejectRecipient, Some("a@x,b@x"), true),
            (FaultName::SmtpRejectRecipient, Some("everyone"), false),
            (FaultName::ImapThrottle, None, true),
        ] {
            assert_eq!(faults.set(name, value).is_ok(), taken, "{name} {value:?}");
        }
        assert_eq!(faults.number(FaultName::ImapThrottle), Some(299_609));
        assert_eq!(read_fault("token-status=503"), Ok((FaultName::TokenStatus, Some("503".into()))));
        assert_eq!(read_fault("token-hang"), Ok((FaultName::TokenHang, None)));
        assert!(read_fault("token-hang=").is_err());
        assert!(read_fault("=5").is_err());
    }

    #[test]
    fn a_fault_with_a_number_of_times_happens_that_often() {
        let faults = Faults::default();
        faults.set(FaultName::SmtpMail451, Some("2")).unwrap();
        let struck: Vec<bool> = (0..3).map(|_| faults.strikes(FaultName::SmtpMail451)).collect();
        assert_eq!(struck, [true, true, false]);
        assert!(!faults.holds(FaultName::SmtpMail451));
        faults.set(FaultName::SmtpMail451, None).unwrap();
        assert!((0..9).all(|_| faults.strikes(FaultName::SmtpMail451)));
        faults.clear(FaultName::SmtpMail451);
        assert!(!faults.strikes(FaultName::SmtpMail451));
    }
}
