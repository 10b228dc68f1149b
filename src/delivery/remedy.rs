//! What an administrator can do about a message that Exchange refused.

use crate::base::Mailbox;
use crate::wire::smtp::{EnhancedCode, Reply};

/// A refusal in one word, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::delivery) struct Remedy {
    /// A short fixed name for the log.
    pub(in crate::delivery) code: &'static str,
    /// What to do; `None` where it passes by itself, or where only Exchange's words can tell.
    pub(in crate::delivery) text: Option<String>,
}

/// Who is sending.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Sending<'a> {
    /// The mailbox that is logged in.
    pub(in crate::delivery) mailbox: &'a Mailbox,
    /// The account whose sign-in opens it, under a delegated grant; else the mailbox itself.
    pub(in crate::delivery) account: &'a Mailbox,
    /// The sender of the envelope, where one was named.
    pub(in crate::delivery) sender: Option<&'a str>,
}

/// What can be done about this refusal of Exchange.
pub(in crate::delivery) fn remedy_for(reply: &Reply, sending: Sending<'_>) -> Remedy {
    let said = reply.text();
    let enhanced = reply.enhanced();
    let mailbox = sending.mailbox;
    let (code, text) = match enhanced {
        _ if said.contains("SendAsDenied") => ("send-as-denied", Some(send_as(&said, sending))),
        Some(EnhancedCode(5, 2, 252) | EnhancedCode(5, 7, 60)) => ("send-as-denied", Some(send_as(&said, sending))),
        _ if said.contains("SubmissionQuotaExceeded") => ("daily-limit", Some(daily_limit(mailbox))),
        Some(EnhancedCode(5, 1, 90)) => ("daily-limit", Some(daily_limit(mailbox))),
        Some(EnhancedCode(5, 1, 1 | 10)) => {
            ("recipient-unknown", Some("Correct the recipient's address: Exchange knows no such mailbox.".to_owned()))
        }
        Some(EnhancedCode(5, 1, 8) | EnhancedCode(5, 7, 501..=503 | 511)) => (
            "sender-restricted",
            Some(format!(
                "Microsoft has stopped {mailbox} from sending, for what looked like spam: find out what sent it, revoke its app password, \
                 and release the mailbox under Restricted entities in the Defender portal."
            )),
        ),
        Some(EnhancedCode(5, 2, 2)) => (
            "mailbox-full",
            Some(format!(
                "Make room in {mailbox}. Each message sent leaves a copy in its Sent Items; `Set-Mailbox -Identity {mailbox} \
                 -MessageCopyForSMTPClientSubmissionEnabled $false` stops that."
            )),
        ),
        Some(EnhancedCode(5, 3, 4)) => (
            "message-too-large",
            Some(format!(
                "Send less in one message, or raise what the mailbox may send: `Set-Mailbox -Identity {mailbox} -MaxSendSize 150MB`."
            )),
        ),
        _ if reply.is_transient() => ("exchange-busy", None),
        _ => ("exchange-refused", None),
    };
    Remedy { code, text }
}

fn daily_limit(mailbox: &Mailbox) -> String {
    format!(
        "Exchange lets {mailbox} send no more until tomorrow: 10,000 recipients a day. Spread them over the days, or over mailboxes."
    )
}

/// `SendAsDenied; a@x not allowed to send as b@x`: the second is the From of the message, or the sender of the envelope. `5.7.60` names
/// neither.
fn send_as(said: &str, Sending { mailbox, account, sender }: Sending<'_>) -> String {
    let stated = said.split_once(" not allowed to send as ");
    let denied = stated.and_then(|(before, _)| before.rsplit([' ', ';']).next()).and_then(plain_address);
    let named = match stated {
        Some((_, behind)) => behind.split([' ', ';']).next().and_then(plain_address),
        None => sender.and_then(plain_address),
    };
    let denied = denied.unwrap_or_else(|| account.clone());
    let grant = |identity: &str, trustee: &str| {
        format!("`Add-RecipientPermission -Identity {identity} -Trustee {trustee} -AccessRights SendAs`")
    };
    if named.as_ref() == Some(mailbox) {
        // It may not even send as itself: the right of whoever holds the token is missing.
        let trustee =
            if denied == *mailbox { "OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION".to_owned() } else { denied.to_string() };
        return format!(
            "Give whoever signs in the right to send as {mailbox}: {}; or, if the From of the message is another address, name {mailbox} \
             there.",
            grant(mailbox.as_str(), &trustee)
        );
    }
    let identity = named.as_ref().map_or("ADDRESS-IN-THE-FROM", Mailbox::as_str);
    format!(
        "Name {mailbox} as the From in the mail program, or give the right to send as {identity}: {}; with client_credentials also \
         with the object ID of the enterprise application as the trustee.",
        grant(identity, denied.as_str())
    )
}

/// An address that can stand in a command for a shell as it is: what a client or Exchange said is pasted there.
fn plain_address(text: &str) -> Option<Mailbox> {
    let plain = text.chars().all(|c| c.is_alphanumeric() || "@.-_+".contains(c));
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(code: u16, text: &str, sender: &str) -> Remedy {
        let mailbox = "scanner@contoso.test".parse().unwrap();
        remedy_for(&Reply::new(code, text), Sending { mailbox: &mailbox, account: &mailbox, sender: Some(sender) })
    }

    #[test]
    fn a_sender_that_is_not_allowed_is_named_with_the_command_that_allows_it() {
        const DENIED: &str =
            "5.2.252 SendAsDenied; scanner@contoso.test not allowed to send as ceo@contoso.test; STOREDRV";
        const OLD: &str = "5.7.60 SMTP; Client does not have permissions to send as this sender";
        for (text, sender, command) in [
            (DENIED, "scanner@contoso.test", "-Identity ceo@contoso.test -Trustee scanner@contoso.test "),
            (OLD, "Ceo@contoso.test", "-Identity ceo@contoso.test -Trustee scanner@contoso.test "),
            (
                OLD,
                "scanner@contoso.test",
                "-Identity scanner@contoso.test -Trustee OBJECT-ID-OF-THE-ENTERPRISE-APPLICATION ",
            ),
        ] {
            let Remedy { code, text: Some(text) } = remedy(554, text, sender) else { panic!("no remedy") };
            assert_eq!(code, "send-as-denied");
            assert!(text.contains(&format!("`Add-RecipientPermission {command}-AccessRights SendAs`")), "{text}");
        }
    }

    #[test]
    fn what_a_stranger_named_does_not_get_into_a_command() {
        for hostile in
            ["$(Remove-Mailbox)@x.test", "a|b@x.test", "a`b@x.test", "a'b@x.test", "a&b@x.test", "a;b@x.test"]
        {
            let text = format!("5.2.252 SendAsDenied; scanner@contoso.test not allowed to send as {hostile}; STOREDRV");
            let told = remedy(554, &text, hostile).text.unwrap();
            assert!(!told.contains(hostile), "{told}");
            assert!(told.contains("-Identity ADDRESS-IN-THE-FROM -Trustee scanner@contoso.test "), "{told}");
        }
    }

    #[test]
    fn each_refusal_has_its_name() {
        for (code, text, name, has_remedy) in [
            (554, "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; x", "daily-limit", true),
            (550, "5.1.90 Your message can't be sent", "daily-limit", true),
            (550, "5.1.10 RESOLVER.ADR.RecipientNotFound", "recipient-unknown", true),
            (550, "5.1.8 Access denied, bad outbound sender", "sender-restricted", true),
            (550, "5.7.511 Access denied, banned sender", "sender-restricted", true),
            (554, "5.2.2 mailbox full; STOREDRV", "mailbox-full", true),
            (552, "5.3.4 Message size exceeds fixed maximum message size", "message-too-large", true),
            (432, "4.3.2 Concurrent connections limit exceeded.", "exchange-busy", false),
            (550, "5.7.1 Unable to relay", "exchange-refused", false),
            (550, "", "exchange-refused", false),
        ] {
            let remedy = remedy(code, text, "scanner@contoso.test");
            assert_eq!((remedy.code, remedy.text.is_some()), (name, has_remedy), "{code} {text}");
        }
    }
}
