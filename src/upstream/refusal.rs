//! What Exchange means when it refuses a login: the token, the tenant's set-up, or just now.

use crate::base::{HostPort, Mailbox};
use crate::upstream::UpstreamError;
use crate::upstream::conversation::quoted;
use crate::wire::smtp::{EnhancedCode, Reply};

/// Judges a refusal of AUTH, or of MAIL for want of it.
pub(in crate::upstream) fn smtp_login(host: &HostPort, mailbox: &Mailbox, reply: &Reply) -> UpstreamError {
    let (host, mailbox) = (host.clone(), mailbox.clone());
    let said = quoted(format!("{} {}", reply.code, reply.text()).as_bytes());
    if reply.is_transient() {
        return UpstreamError::Busy { host, said };
    }
    let remedy = if said.contains("SmtpClientAuthentication is disabled for the Tenant") {
        format!(
            "Switch authenticated submission on for this mailbox: `Set-CASMailbox -Identity {mailbox} \
             -SmtpClientAuthenticationDisabled $false`. It may take 20 minutes."
        )
    } else if said.contains("SmtpClientAuthentication is disabled") {
        format!(
            "Authenticated submission is switched off for this mailbox: `Set-CASMailbox -Identity {mailbox} \
             -SmtpClientAuthenticationDisabled $false`. It may take 20 minutes."
        )
    } else if said.contains("security defaults") {
        "Security defaults forbid it: exclude this by replacing security defaults with Conditional Access policies."
            .to_owned()
    } else if said.contains("did not meet the criteria") {
        "A Conditional Access policy forbids it: the sign-in log in Entra ID names the policy.".to_owned()
    } else if reply.enhanced() == Some(EnhancedCode(5, 7, 139)) {
        "Look up what Exchange said; the sign-in log in Entra ID has the reason.".to_owned()
    } else if reply.code == 504 {
        "The host does not offer XOAUTH2: check `smtp` under [tenant.endpoints].".to_owned()
    } else {
        // 535 5.7.3, and 501 5.5.124 and 5.5.127 of High Volume Email.
        return UpstreamError::TokenRejected { host, mailbox, said };
    };
    UpstreamError::Denied { host, mailbox, said, remedy }
}

/// Judges the tagged answer to AUTHENTICATE that was not OK.
pub(in crate::upstream) fn imap_login(host: &HostPort, mailbox: &Mailbox, line: &[u8]) -> UpstreamError {
    let said = quoted(line);
    let (host, mailbox) = (host.clone(), mailbox.clone());
    if is_throttled(&said) || said.contains("[UNAVAILABLE]") || said.contains("Server Unavailable") {
        UpstreamError::Busy { host, said }
    } else {
        UpstreamError::TokenRejected { host, mailbox, said }
    }
}

/// Judges the -ERR to AUTH.
pub(in crate::upstream) fn pop3_login(host: &HostPort, mailbox: &Mailbox, line: &[u8]) -> UpstreamError {
    let said = quoted(line);
    let (host, mailbox) = (host.clone(), mailbox.clone());
    if is_throttled(&said) || said.contains("[SYS/TEMP]") || said.contains("[IN-USE]") {
        UpstreamError::Busy { host, said }
    } else {
        UpstreamError::TokenRejected { host, mailbox, said }
    }
}

/// Whether Exchange asks for a pause («Request is throttled. Suggested Backoff Time: 299609 milliseconds»).
pub(in crate::upstream) fn is_throttled(said: &str) -> bool {
    said.contains("is throttled") || said.contains("Suggested Backoff Time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Fault, Whose};

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
}
