//! Mails of Postern's own that are no answer to anything, such as that an app password ends: from a mailbox to itself, or to whoever looks
//! after it.

use lettre::message::header::ContentType;
use lettre::message::{Mailbox as Correspondent, SinglePart};

use crate::base::{Mailbox, Reference};
use crate::delivery::report::{self, AutoSubmitted};
use crate::delivery::{Delivery, DeliveryError};

/// What is said.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// In one line.
    pub subject: &'a str,
    /// In full, lines of up to 78 characters.
    pub text: &'a str,
}

impl Delivery {
    /// Puts a mail into the queue, from a mailbox to an address; it goes out like any other of that mailbox. Nobody is told what becomes of
    /// it: if it cannot be delivered it is held where the administrator sees it.
    ///
    /// # Errors
    /// When it cannot be made, or the spool or the store not take it.
    pub async fn notify(&self, mailbox: &Mailbox, to: &Mailbox, notice: Notice<'_>) -> Result<(), DeliveryError> {
        let now = self.keeping.clock.now();
        let message_id =
            format!("postern-notice.{}@{}", Reference::fresh().to_string().to_ascii_lowercase(), self.hostname);
        let content = content(mailbox, to, notice, &message_id, now).map_err(DeliveryError::Report)?;
        let mut draft = self.keeping.spool.begin_anyway().await?;
        draft.write(&content).await?;
        let message = report::of_ours(&draft, mailbox, to, message_id, now);
        draft.keep().await?;
        if let Err(error) = self.keeping.store.enqueue(&message).await {
            drop(self.keeping.spool.remove(&message.id).await);
            return Err(error.into());
        }
        self.keeping.spool.settle(&message.id).await;
        self.keeping.wake.notify_one();
        Ok(())
    }
}

fn content(
    mailbox: &Mailbox,
    to: &Mailbox,
    notice: Notice<'_>,
    message_id: &str,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Vec<u8>, String> {
    let correspondent = |name: Option<&str>, address: &Mailbox| {
        let address = address.as_str().parse().map_err(|error| format!("{error}"))?;
        Ok::<_, String>(Correspondent::new(name.map(str::to_owned), address))
    };
    let message = lettre::Message::builder()
        .from(correspondent(Some("Postern"), mailbox)?)
        .to(correspondent(None, to)?)
        .subject(notice.subject)
        .date(now.into())
        .message_id(Some(format!("<{message_id}>")))
        // RFC 3834, section 5: nothing answers it by itself.
        .header(AutoSubmitted("auto-generated"))
        .singlepart(SinglePart::builder().header(ContentType::TEXT_PLAIN).body(notice.text.to_owned()));
    Ok(message.map_err(|error| error.to_string())?.formatted())
}
