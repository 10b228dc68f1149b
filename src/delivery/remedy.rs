//! What an administrator can do about a message that Exchange refused.

use crate::base::Mailbox;
use crate::base::catalogue::{self, Places};
use crate::wire::smtp::Reply;

/// A refusal in one word, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::delivery) struct Remedy {
    /// Its name in the catalogue, so that `postern explain` knows it.
    pub(in crate::delivery) code: &'static str,
    /// What to do; `None` where only Exchange's words can tell.
    pub(in crate::delivery) text: Option<String>,
}

/// What can be done about this refusal of a message of this mailbox; `sender` is what its envelope named.
pub(in crate::delivery) fn remedy_for(reply: &Reply, mailbox: &Mailbox, sender: Option<&str>) -> Remedy {
    // What tells refusals apart stands at their beginning; diagnostics behind it may be of any length.
    let said: String = reply.text().chars().take(2000).collect();
    let Some(entry) = catalogue::exchange_reply(reply.code, &said) else {
        return Remedy { code: "exchange-refused", text: None };
    };
    // The header From counts as well as the envelope, and Exchange says which one it was: `a@x not allowed to send as b@x; …`.
    let named = said.split_once(" not allowed to send as ").and_then(|(_, behind)| behind.split([' ', ';']).next());
    let places = Places { mailbox: Some(mailbox.as_str()), sender: named.or(sender), ..Places::default() };
    Remedy { code: entry.code, text: Some(entry.remedy_line(&places)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(code: u16, text: &str, sender: &str) -> Remedy {
        remedy_for(&Reply::new(code, text), &"scanner@contoso.test".parse().unwrap(), Some(sender))
    }

    #[test]
    fn a_sender_that_is_not_allowed_is_named_with_the_command_that_allows_it() {
        const DENIED: &str =
            "5.2.252 SendAsDenied; scanner@contoso.test not allowed to send as ceo@contoso.test; STOREDRV";
        const OLD: &str = "5.7.60 SMTP; Client does not have permissions to send as this sender";
        for (code, text, sender, name) in [
            (554, DENIED, "scanner@contoso.test", "smtp-send-as-denied"),
            (550, OLD, "ceo@contoso.test", "smtp-send-as-not-permitted"),
        ] {
            let Remedy { code, text: Some(text) } = remedy(code, text, sender) else { panic!("no remedy") };
            assert_eq!(code, name);
            let command = "`Add-RecipientPermission -Identity ceo@contoso.test -Trustee scanner@contoso.test -AccessRights SendAs`";
            assert!(text.contains(command), "{text}");
        }
    }

    #[test]
    fn what_a_stranger_named_does_not_get_into_a_command() {
        for hostile in ["$(Remove-Mailbox)@x.test", "a|b@x.test", "a`b@x.test", "a'b@x.test", "a&b@x.test"] {
            let text = format!("5.2.252 SendAsDenied; scanner@contoso.test not allowed to send as {hostile}; STOREDRV");
            let told = remedy(554, &text, hostile).text.unwrap();
            assert!(!told.contains(hostile), "{told}");
            assert!(told.contains("-Identity SENDER -Trustee scanner@contoso.test "), "{told}");
        }
    }

    #[test]
    fn what_the_catalogue_does_not_know_is_left_to_the_words_of_exchange() {
        assert_eq!(remedy(550, "5.9.9 New", "a@x.test"), Remedy { code: "exchange-refused", text: None });
        assert_eq!(remedy(550, "", "a@x.test"), Remedy { code: "exchange-refused", text: None });
    }
}
