//! The header of a message on its way: mended, and checked against what the app password allows.

use crate::auth::Permit;
use crate::base::{Clock, Reference};
use crate::delivery::DeliveryError;
use crate::wire::header::{HeaderEditor, Rules, Senders};

/// How a message comes.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Arrival {
    /// The sender of its envelope, as it goes on.
    pub(in crate::delivery) sender: Option<String>,
    /// The client is inside TLS.
    pub(in crate::delivery) is_secured: bool,
    /// Its MAIL said `SMTPUTF8`.
    pub(in crate::delivery) is_utf8: bool,
    /// Exchange takes the session for the account behind the mailbox, who may send as more than the mailbox may.
    pub(in crate::delivery) by_account: bool,
}

impl Arrival {
    /// The word for it in `Received`. Nobody hands in a message without having logged in (RFC 3848; RFC 6531, section 4.3).
    fn protocol(&self) -> &'static str {
        match (self.is_utf8, self.is_secured) {
            (false, false) => "ESMTPA",
            (false, true) => "ESMTPSA",
            (true, false) => "UTF8SMTPA",
            (true, true) => "UTF8SMTPSA",
        }
    }
}

/// A message that is coming.
pub(in crate::delivery) struct Composing {
    editor: HeaderEditor,
    refusal: Option<DeliveryError>,
}

impl Composing {
    /// For one message of this permit.
    pub(in crate::delivery) fn new(permit: &Permit, arrival: &Arrival, hostname: &str, clock: &Clock) -> Self {
        let mailbox = permit.mailbox().as_str();
        let senders = permit.senders();
        let date = clock.now().to_rfc2822();
        // The mailbox's own domain: the name of this machine is nobody's business.
        let domain = mailbox.rsplit('@').next().unwrap_or("localhost");
        let id = [Reference::fresh(), Reference::fresh(), Reference::fresh()].map(|part| part.to_string()).concat();
        let protocol = arrival.protocol();
        let rules = Rules {
            // RFC 5321, section 4.4, without the `from` clause: where the client is, and what it calls itself, stays in the house.
            received: format!("by {hostname} (Postern)\r\n\twith {protocol} id {id};\r\n\t{date}"),
            date,
            message_id: format!("{id}@{domain}"),
            from: arrival.sender.as_deref().unwrap_or(mailbox).to_owned(),
            senders: Senders(senders.allowed.clone()),
            force_from: senders.force_from.then(|| mailbox.to_owned()),
            pinned: arrival.by_account.then(|| mailbox.to_owned()),
        };
        Self { editor: HeaderEditor::new(rules), refusal: None }
    }

    /// Whether pieces pass as they are.
    pub(in crate::delivery) fn is_through(&self) -> bool {
        self.editor.is_through()
    }

    /// What goes on of this piece; `None` once the message is refused.
    pub(in crate::delivery) fn piece(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(piece.len() + 512);
        self.take(|editor, out| editor.push(piece, out), &mut out).then_some(out)
    }

    /// What goes on at the end of the message, and the refusal if there is one.
    ///
    /// # Errors
    /// [`DeliveryError::Unfit`].
    pub(in crate::delivery) fn end(&mut self) -> Result<Vec<u8>, DeliveryError> {
        let mut out = Vec::new();
        self.take(HeaderEditor::finish, &mut out);
        self.refusal.take().map_or(Ok(out), Err)
    }

    /// The Message-ID, once the header is through.
    pub(in crate::delivery) fn message_id(&self) -> Option<&str> {
        self.editor.message_id()
    }

    /// Whether the message is encrypted, once the header is through.
    pub(in crate::delivery) fn is_encrypted(&self) -> bool {
        self.editor.is_encrypted()
    }

    fn take(
        &mut self,
        edit: impl FnOnce(&mut HeaderEditor, &mut Vec<u8>) -> Result<(), crate::wire::header::Unfit>,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.refusal.is_some() {
            return false;
        }
        match edit(&mut self.editor, out) {
            Ok(()) => true,
            Err(unfit) => {
                self.refusal = Some(DeliveryError::Unfit(unfit));
                false
            }
        }
    }
}
