//! What an administrator can do about a message that Exchange refused.

use crate::base::catalogue::{self, Places};
use crate::base::{Mailbox, Whose};
use crate::wire::smtp::Reply;

/// A refusal in one word, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::delivery) struct Remedy {
    /// A short fixed name for the log: that of an entry of the catalogue.
    pub(in crate::delivery) code: &'static str,
    /// What to do; `None` where it passes by itself, or where only Exchange's words can tell.
    pub(in crate::delivery) text: Option<String>,
    /// Whose move it is, for a refusal that is not final.
    pub(in crate::delivery) whose: Whose,
    /// Whether it is about everything that the mailbox sends.
    pub(in crate::delivery) of_mailbox: bool,
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

/// What can be done about this refusal of Exchange. The words are the catalogue's, but for the right to send as somebody: here it is known
/// who is who.
pub(in crate::delivery) fn remedy_for(reply: &Reply, sending: Sending<'_>) -> Remedy {
    let said = reply.text();
    let Some(entry) = catalogue::exchange_reply(reply.code, &said) else {
        let code = if reply.is_transient() { "exchange-busy" } else { "exchange-refused" };
        return Remedy { code, text: None, whose: Whose::Nobody, of_mailbox: false };
    };
    let text = match entry.code {
        "smtp-send-as-denied" | "smtp-send-as-not-permitted" => Some(send_as(&said, sending)),
        _ if reply.is_transient() && entry.whose == Whose::Nobody => None,
        // What to do about a program that goes past us is no help to one that came through.
        _ if entry.is_about_others() => None,
        _ => {
            let places =
                Places { mailbox: Some(sending.mailbox.as_str()), sender: sending.sender, ..Places::default() };
            Some(entry.remedy_line(&places))
        }
    };
    // What Exchange says to a session that it does not take for logged in passes with the next session; and those who are too many for one
    // transaction get the message by the next.
    let passes = entry.told == catalogue::Told::NOT_LET_IN || entry.code == "smtp-too-many-recipients";
    let whose = if passes { Whose::Nobody } else { entry.whose };
    let of_mailbox = matches!(
        entry.code,
        "smtp-daily-recipients" | "smtp-submission-quota" | "smtp-mailbox-logon-failure" | "smtp-mailbox-full"
    );
    Remedy { code: entry.code, text, whose, of_mailbox }
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
            let Remedy { code, text: Some(text), .. } = remedy(554, text, sender) else { panic!("no remedy") };
            assert!(code.starts_with("smtp-send-as-"), "{code}");
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
    fn recipients_who_are_too_many_for_one_transaction_wait_for_the_next() {
        assert_eq!(remedy(452, "4.5.3 Too many recipients", "scanner@contoso.test").whose, Whose::Nobody);
        assert_eq!(remedy(552, "5.3.4 Message size exceeds fixed maximum message size", "a@x.test").whose, Whose::User);
    }

    #[test]
    fn each_refusal_has_its_name_in_the_catalogue() {
        for (code, text, name, has_remedy) in [
            (
                554,
                "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; x",
                "smtp-submission-quota",
                true,
            ),
            (550, "5.1.90 Your message can't be sent", "smtp-daily-recipients", true),
            (550, "5.1.10 RESOLVER.ADR.RecipientNotFound", "smtp-recipient-not-found", true),
            (550, "5.1.1 RESOLVER.ADR.RecipNotFound", "smtp-recipient-not-found", true),
            (550, "5.1.8 Access denied, bad outbound sender", "smtp-bad-outbound-sender", true),
            (550, "5.7.511 Access denied, banned sender", "smtp-banned-address", true),
            (554, "5.2.2 mailbox full; STOREDRV", "smtp-mailbox-full", true),
            (554, "5.2.2 in new words", "smtp-mailbox-full", true),
            (552, "5.3.4 Message size exceeds fixed maximum message size", "smtp-message-too-large", true),
            (552, "5.3.4 in new words", "smtp-message-too-large", true),
            (452, "4.5.3 Too many recipients", "smtp-too-many-recipients", true),
            (432, "4.3.2 Concurrent connections limit exceeded.", "smtp-concurrent", false),
            (451, "4.9.9 in new words", "exchange-busy", false),
            (530, "5.7.57 Client not authenticated to send mail.", "smtp-not-authenticated", false),
            (550, "5.7.1 Unable to relay", "exchange-refused", false),
            (550, "", "exchange-refused", false),
        ] {
            let remedy = remedy(code, text, "scanner@contoso.test");
            assert_eq!((remedy.code, remedy.text.is_some()), (name, has_remedy), "{code} {text}");
            assert!(catalogue::by_code(remedy.code).is_some(), "{name}");
            assert!(!remedy.text.is_some_and(|text| text.contains("MAILBOX")), "{code} {text}");
        }
    }
}
