//! What Exchange means when it refuses a login: the token, the tenant's set-up, or just now.

use crate::base::catalogue::{self, Places, Retry};
use crate::base::{HostPort, Mailbox, Whose};
use crate::upstream::UpstreamError;
use crate::upstream::conversation::quoted;
use crate::wire::smtp::{EnhancedCode, Reply};

/// Judges a refusal of AUTH, or of MAIL for want of it.
///
/// By 5.7.139, and by the words that go with it, Exchange says that the token was understood and something else forbids the login. All else
/// is worth a new token, High Volume Email's 501 5.5.124 and 5.5.127 included.
pub(in crate::upstream) fn smtp_login(host: &HostPort, mailbox: &Mailbox, reply: &Reply) -> UpstreamError {
    let (host, mailbox) = (host.clone(), mailbox.clone());
    let said = quoted(format!("{} {}", reply.code, reply.text()).as_bytes());
    if reply.is_transient() {
        return UpstreamError::Busy { host, said };
    }
    let known = catalogue::exchange_reply(reply.code, &reply.text());
    let is_denied = reply.enhanced() == Some(EnhancedCode(5, 7, 139))
        || reply.code == 504
        || known.is_some_and(|entry| entry.seen == "535 5.7.139");
    if !is_denied {
        return UpstreamError::TokenRejected { host, mailbox, said };
    }
    let remedy = match known {
        // What a password is told is no help to somebody who sent a token.
        Some(entry) if !entry.is_about_others() => {
            entry.remedy_line(&Places { mailbox: Some(mailbox.as_str()), ..Places::default() })
        }
        _ => "Look up what Exchange said; the sign-in log in Entra ID has the reason.".to_owned(),
    };
    UpstreamError::Denied { host, mailbox, said, remedy }
}

/// Judges the tagged answer to AUTHENTICATE that was not OK.
pub(in crate::upstream) fn imap_login(host: &HostPort, mailbox: &Mailbox, line: &[u8]) -> UpstreamError {
    let said = quoted(line);
    let (host, mailbox) = (host.clone(), mailbox.clone());
    if passes(&said) || said.contains("[UNAVAILABLE]") {
        UpstreamError::Busy { host, said }
    } else {
        UpstreamError::TokenRejected { host, mailbox, said }
    }
}

/// Judges the -ERR to AUTH.
pub(in crate::upstream) fn pop3_login(host: &HostPort, mailbox: &Mailbox, line: &[u8]) -> UpstreamError {
    let said = quoted(line);
    let (host, mailbox) = (host.clone(), mailbox.clone());
    if passes(&said) || said.contains("[SYS/TEMP]") || said.contains("[IN-USE]") {
        UpstreamError::Busy { host, said }
    } else {
        UpstreamError::TokenRejected { host, mailbox, said }
    }
}

/// Whether Exchange asks for a pause («Request is throttled. Suggested Backoff Time: 299609 milliseconds»).
pub(in crate::upstream) fn is_throttled(said: &str) -> bool {
    said.contains("is throttled") || catalogue::pause(said).is_some()
}

/// Whether the catalogue knows it as something that passes with time, such as throttling or a server that cannot be had.
fn passes(said: &str) -> bool {
    is_throttled(said)
        || catalogue::mailbox_answer(said)
            .is_some_and(|entry| entry.whose == Whose::Nobody && entry.retry != Retry::OnceWithNewToken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Fault;

    fn host() -> HostPort {
        HostPort { host: "smtp.office365.com".to_owned(), port: 587 }
    }

    #[test]
    fn one_code_for_many_causes_is_told_apart_by_its_text() {
        let mailbox: Mailbox = "scanner@contoso.test".parse().unwrap();
        for (code, text, fault, whose) in [
            (535, "5.7.3 Authentication unsuccessful [HOST]", "token-rejected", Whose::Administrator),
            (
                535,
                "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit https://aka.ms/smtp_auth_disabled",
                "exchange-denied",
                Whose::Administrator,
            ),
            (
                535,
                "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
                "exchange-denied",
                Whose::Administrator,
            ),
            (
                535,
                "5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.",
                "exchange-denied",
                Whose::Administrator,
            ),
            (501, "5.5.127 Invalid XOAUTH2 auth data - Token will expire soon", "token-rejected", Whose::Administrator),
            (451, "4.7.0 Temporary server error. Please try again later. PRX2", "exchange-busy", Whose::Nobody),
            (421, "4.3.2 Service not active", "exchange-busy", Whose::Nobody),
        ] {
            let error = smtp_login(&host(), &mailbox, &Reply::new(code, text));
            assert_eq!((error.code(), error.whose()), (fault, whose), "{code} {text}");
        }
        let error =
            imap_login(&host(), &mailbox, b"P1 NO Request is throttled. Suggested Backoff Time: 299609 milliseconds");
        assert_eq!(error.whose(), Whose::Nobody);
        assert!(imap_login(&host(), &mailbox, b"P1 NO AUTHENTICATE failed.").wants_new_token());
        assert!(
            pop3_login(&host(), &mailbox, b"-ERR Authentication failure: unknown user name or bad password.")
                .wants_new_token()
        );
    }
    #[test]
    fn a_denial_carries_the_catalogues_remedy_with_the_mailbox_in_it() {
        let mailbox: Mailbox = "scanner@contoso.test".parse().unwrap();
        let remedy = |code, text: &str| smtp_login(&host(), &mailbox, &Reply::new(code, text)).remedy().unwrap();
        let switch = "`Set-CASMailbox -Identity scanner@contoso.test -SmtpClientAuthenticationDisabled $false`";
        for (code, text, part) in [
            (535, "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.", switch),
            (535, "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.", switch),
            (550, "SmtpClientAuthentication is disabled for the Mailbox.", switch),
            (
                535,
                "5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.",
                "Manage security defaults",
            ),
            (
                535,
                "5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully.",
                "Conditional Access",
            ),
            (535, "5.7.139 Authentication unsuccessful, federated STS service was unreachable.", "AD FS"),
            (535, "5.7.139 Authentication unsuccessful, basic authentication is disabled.", "sign-in log"),
            (535, "5.7.139 Authentication unsuccessful, in words of tomorrow", "sign-in log"),
            (504, "5.7.4 Unrecognized authentication type", "`smtp` under [tenant.endpoints]"),
        ] {
            let remedy = remedy(code, text);
            assert!(remedy.contains(part) && !remedy.contains('\n'), "{text}: {remedy}");
        }
    }

    #[test]
    fn what_passes_with_time_is_no_reason_for_a_new_token() {
        let mailbox: Mailbox = "scanner@contoso.test".parse().unwrap();
        for line in [
            "BAD Request is throttled.",
            "P1 NO Server Unavailable. 15",
            "P1 BAD Suggested Backoff Time: 5 milliseconds",
        ] {
            assert_eq!(imap_login(&host(), &mailbox, line.as_bytes()).code(), "exchange-busy", "{line}");
        }
        let line = b"-ERR Protocol error. Connection is closed. 10";
        assert!(pop3_login(&host(), &mailbox, line).wants_new_token());
    }
}
