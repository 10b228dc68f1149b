//! The header of a message that is handed in, as a submission server may mend it (RFC 6409, section 8): what is missing is added, the
//! sender may be put in its place, loops are noticed. Everything else, and the body, passes as it came, octet for octet.
//!
//! The message comes in pieces of any size, in lines that end in CRLF. The header is held back until its end is seen.

mod fields;

use crate::wire::header::fields::{Field, fields};

/// A header longer than this, with the empty line behind it, is not looked through: it passes as it is, with a `Received` in front.
const LONGEST_HEADER_OCTETS: usize = 256 * 1024;

/// A Message-ID that is longer than a line may be (RFC 5322, section 2.1.1) is not kept in mind.
pub const LONGEST_COPIED_ID_OCTETS: usize = 998;

/// With so many `Received` a message goes round in circles (RFC 5321, section 6.3).
const MOST_RECEIVED: usize = 50;

/// What is to be done with a header.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The value of the `Received` that goes in front, in lines that end in CRLF but the last.
    pub received: String,
    /// A `Date`, for a message without one.
    pub date: String,
    /// A Message-ID without angle brackets, for a message without one.
    pub message_id: String,
    /// The address for a message without `From`.
    pub from: String,
    /// Who may stand in `From` and `Sender`.
    pub senders: Senders,
    /// The address that takes the place of `From`, whatever stood there.
    pub force_from: Option<String>,
    /// The only address that may stand in `From` and `Sender` of what goes on, whoever is allowed.
    pub pinned: Option<String>,
}

/// Who may stand in `From` and `Sender`: addresses, and domains with `@` in front. Empty: anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders(pub Vec<String>);

impl Senders {
    /// Whether anybody may.
    pub fn is_anybody(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address may. A domain is that domain and none below it.
    pub fn allow(&self, address: &str) -> bool {
        let domain = address.rfind('@').and_then(|at| address.get(at..)).unwrap_or_default();
        let allows = |rule: &String| rule.eq_ignore_ascii_case(if rule.starts_with('@') { domain } else { address });
        self.is_anybody() || self.0.iter().any(allows)
    }
}

/// Why a message must not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It goes round in circles.
    Loop,
    /// Somebody stands in `From` or `Sender` who may not.
    Sender(String),
    /// Who stands there cannot be told.
    UnclearSender,
}

/// Mends the header of one message.
#[derive(Debug)]
pub struct HeaderEditor {
    rules: Rules,
    held: Vec<u8>,
    /// Its first line has been seen, and may begin a header.
    has_begun: bool,
    /// How far the end of the header was looked for.
    searched: usize,
    is_through: bool,
    message_id: Option<String>,
    is_encrypted: bool,
}

impl HeaderEditor {
    /// For one message.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            held: Vec::new(),
            has_begun: false,
            searched: 0,
            is_through: false,
            message_id: None,
            is_encrypted: false,
        }
    }

    /// Whether the header is through, so that what comes passes as it is.
    pub fn is_through(&self) -> bool {
        self.is_through
    }

    /// The Message-ID without angle brackets: its own, or the one that was added. Known once the header is through.
    pub fn message_id(&self) -> Option<&str> {
        self.message_id.as_deref()
    }

    /// Whether the message as a whole is encrypted (RFC 3156, RFC 8551). Known once the header is through.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Takes a piece and adds to `out` what goes on.
    ///
    /// # Errors
    /// [`Unfit`]; then nothing more of the message is to go on.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self.is_through {
            out.extend_from_slice(piece);
            return Ok(());
        }
        self.held.extend_from_slice(piece);
        match self.end_of_header() {
            Some(end) => self.let_through(end, out),
            None if self.held.len() <= LONGEST_HEADER_OCTETS => Ok(()),
            None if self.has_begun || fields::may_begin(self.looked_through()) => self.let_through_unread(out),
            // One line without end, and no field.
            None => self.let_through(0, out),
        }
    }

    /// The message is over.
    ///
    /// # Errors
    /// As [`push`](HeaderEditor::push).
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self.is_through { Ok(()) } else { self.let_through(self.held.len(), out) }
    }

    /// As much of what is held as is looked through: the same however the message comes in pieces.
    fn looked_through(&self) -> &[u8] {
        self.held.get(..LONGEST_HEADER_OCTETS).unwrap_or(&self.held)
    }

    /// Where the header ends: behind its last field. A message that does not begin like a header has none.
    fn end_of_header(&mut self) -> Option<usize> {
        // What was searched is not searched again, however small the pieces are; an end may lie across two of them.
        let from = self.searched.saturating_sub(3);
        self.searched = self.looked_through().len();
        if !self.has_begun {
            let unseen = self.looked_through().get(from..).unwrap_or_default();
            let first_line = from + memchr::memmem::find(unseen, b"\r\n")?;
            if !fields::may_begin(self.held.get(..first_line).unwrap_or_default()) {
                return Some(0);
            }
            self.has_begun = true;
        }
        let found = memchr::memmem::find(self.looked_through().get(from..).unwrap_or_default(), b"\r\n\r\n");
        found.map(|at| from + at + 2)
    }

    /// The header ends at `end`; behind it come the empty line and the body.
    fn let_through(&mut self, end: usize, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let held = std::mem::take(&mut self.held);
        let (header, rest) = held.split_at_checked(end).unwrap_or((&held, &[]));
        let found = fields(header);
        let is = |name: &'static str| move |field: &&Field<'_>| field.is(name);
        if found.iter().filter(is("received")).count() >= MOST_RECEIVED {
            return Err(Unfit::Loop);
        }
        self.check_senders(&found)?;
        self.check_pinned(&found)?;
        let is_forced = self.rules.force_from.is_some();
        let forced = self.rules.force_from.as_ref().and_then(|address| forced(&found, address));
        self.message_id = fields::message_id(&found);
        self.is_encrypted = is_encrypted(&found);
        self.begin(out);
        if !found.iter().any(|field| field.is("from")) {
            let from = self.rules.force_from.as_ref().unwrap_or(&self.rules.from);
            add(out, "From", from);
        }
        if !found.iter().any(|field| field.is("date")) {
            add(out, "Date", &self.rules.date);
        }
        if !found.iter().any(|field| field.is("message-id")) {
            add(out, "Message-ID", &format!("<{}>", self.rules.message_id));
            self.message_id = Some(self.rules.message_id.clone());
        }
        let mut replaced = false;
        for field in &found {
            match &forced {
                Some(forced) if field.is("from") => {
                    if !std::mem::replace(&mut replaced, true) {
                        out.extend_from_slice(forced);
                    }
                }
                // Whoever stands in From alone has sent it now, and then there should be none (RFC 5322, section 3.6.2).
                _ if is_forced && field.is("sender") => {}
                _ => out.extend_from_slice(field.octets),
            }
        }
        if !rest.starts_with(b"\r\n") && (!rest.is_empty() || end == 0) {
            // There was no header at all, and there is one now.
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(rest);
        self.is_through = true;
        Ok(())
    }

    /// What is too long to be looked through passes, unless something had to be found in it.
    fn let_through_unread(&mut self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let mut found = fields(self.looked_through());
        // Of the last one only a part has been seen.
        found.pop();
        if found.iter().filter(|field| field.is("received")).count() >= MOST_RECEIVED {
            return Err(Unfit::Loop);
        }
        if !self.rules.senders.is_anybody() || self.rules.force_from.is_some() || self.rules.pinned.is_some() {
            return Err(Unfit::UnclearSender);
        }
        // One that is missing so far may still come, and two would be wrong (RFC 5322, section 3.6): none is added.
        (self.message_id, self.is_encrypted) = (fields::message_id(&found), is_encrypted(&found));
        self.begin(out);
        out.append(&mut self.held);
        self.is_through = true;
        Ok(())
    }

    fn begin(&self, out: &mut Vec<u8>) {
        add(out, "Received", &self.rules.received);
    }

    fn check_senders(&self, found: &[Field<'_>]) -> Result<(), Unfit> {
        if self.rules.senders.is_anybody() {
            return Ok(());
        }
        // What would be added is looked at as what is there.
        let will_add = self.rules.force_from.is_none() && !found.iter().any(|field| field.is("from"));
        if will_add && !self.rules.senders.allow(&self.rules.from) {
            return Err(Unfit::Sender(self.rules.from.clone()));
        }
        check(found.iter(), &self.rules.senders)
    }

    /// The same for what goes on.
    fn check_pinned(&self, found: &[Field<'_>]) -> Result<(), Unfit> {
        let Some(pinned) = &self.rules.pinned else { return Ok(()) };
        let pinned = Senders(vec![pinned.clone()]);
        let from = match &self.rules.force_from {
            Some(address) => Some(address),
            None => Some(&self.rules.from).filter(|_| !found.iter().any(|field| field.is("from"))),
        };
        if let Some(wrong) = from.filter(|address| !pinned.allow(address)) {
            return Err(Unfit::Sender(wrong.clone()));
        }
        let is_forced = self.rules.force_from.is_some();
        check(found.iter().filter(|field| !(is_forced && (field.is("from") || field.is("sender")))), &pinned)
    }
}

/// Whether everybody in these fields who stands as an author or a sender may.
fn check<'a, 'b: 'a>(found: impl Iterator<Item = &'a Field<'b>>, allowed: &Senders) -> Result<(), Unfit> {
    let names = ["from", "sender", "resent-from", "resent-sender"];
    for field in found.filter(|field| names.iter().any(|name| field.is(name))) {
        let addresses = fields::all_addresses(field).ok_or(Unfit::UnclearSender)?;
        if let Some(wrong) = addresses.into_iter().find(|address| !allowed.allow(address)) {
            return Err(Unfit::Sender(wrong));
        }
    }
    Ok(())
}

/// Whether a whole header has a From, and nobody else than `address` stands in it as an author or a sender.
pub fn is_of(header: &[u8], address: &str) -> bool {
    let found = fields(header);
    found.iter().any(|field| field.is("from")) && check(found.iter(), &Senders(vec![address.to_owned()])).is_ok()
}

/// Everybody in the To, Cc and Bcc of a message. `None` where that cannot be told with certainty, and of a message that was sent on (with
/// `Resent-` fields), where these are not whom it is for.
pub fn recipients(header: &[u8]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for field in fields(header) {
        if ["resent-to", "resent-cc", "resent-bcc"].iter().any(|name| field.is(name)) {
            return None;
        }
        if ["to", "cc", "bcc"].iter().any(|name| field.is(name)) {
            if fields::bare_ats(field.value())? > 0 {
                all.extend(fields::addresses(&field)?);
            } else if field.value().contains(&b'@') || memchr::memmem::find(field.value(), b"=?").is_some() {
                // No address to us, and perhaps one to somebody who takes quotes and encoded words off first.
                return None;
            }
        }
    }
    Some(all)
}

/// Everybody in the From of a message; `None` where that cannot be told with certainty.
pub fn authors(header: &[u8]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for field in fields(header).into_iter().filter(|field| field.is("from")) {
        all.extend(fields::addresses(&field)?);
    }
    Some(all)
}

/// Whether a message has come so far that its whole header is there.
pub fn has_whole_header(message: &[u8]) -> bool {
    message.starts_with(b"\r\n") || memchr::memmem::find(message, b"\r\n\r\n").is_some()
}

/// The header of a message, with the CRLF of its last line.
pub fn header_of(message: &[u8]) -> &[u8] {
    if message.starts_with(b"\r\n") {
        return &[];
    }
    let end = memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    message.get(..end).unwrap_or(message)
}

/// The Message-ID, without angle brackets, of a message that a program files as a copy of what it has sent.
///
/// Not of one that has been on a server before, which has a `Received`: the program has edited it, and deletes the other one next
/// (Thunderbird that takes attachments off, mutt's `edit-message`). Nor of one with a `Bcc`, which stands nowhere else; nor of one that a program
/// for synchronisation looks for afterwards, by a field of its own (mbsync's `X-TUID`).
pub fn copied_message_id(message: &[u8]) -> Option<String> {
    let header = header_of(message);
    // With other ends of lines the body could be taken for a part of it.
    let has_bare_lf = memchr::memchr_iter(b'\n', header).any(|at| at == 0 || header.get(at - 1) != Some(&b'\r'));
    let found = fields(header);
    let is_more = |field: &Field<'_>| {
        ["received", "x-tuid"].iter().any(|name| field.is(name))
            || field.begins("x-ms-exchange-")
            || (field.is("bcc") && !field.value().trim_ascii().is_empty())
    };
    let ids = found.iter().filter(|field| field.is("message-id")).count();
    if has_bare_lf || ids != 1 || found.iter().any(is_more) {
        return None;
    }
    fields::message_id(&found).filter(|id| id.len() <= LONGEST_COPIED_ID_OCTETS)
}

fn is_encrypted(found: &[Field<'_>]) -> bool {
    const TYPES: [&[u8]; 3] = [b"multipart/encrypted", b"application/pkcs7-mime", b"application/x-pkcs7-mime"];
    let kinds = found.iter().filter(|field| field.is("content-type")).map(|field| field.value().trim_ascii_start());
    kinds.into_iter().any(|kind| {
        TYPES.iter().any(|known| kind.get(..known.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(known)))
    })
}

/// A `Bcc` with these, one a line.
pub fn bcc(addresses: &[String]) -> Vec<u8> {
    if addresses.is_empty() {
        return Vec::new();
    }
    format!("Bcc: {}\r\n", addresses.join(",\r\n ")).into_bytes()
}

fn add(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
}

/// The fields that take the place of `From`; `None` where the address stands there already.
fn forced(found: &[Field<'_>], address: &str) -> Option<Vec<u8>> {
    let mut froms = found.iter().filter(|field| field.is("from"));
    let from = froms.next()?;
    let is_alone = froms.next().is_none();
    let addresses = fields::all_addresses(from).unwrap_or_default();
    if is_alone && matches!(addresses.as_slice(), [one] if one.eq_ignore_ascii_case(address)) {
        return None;
    }
    let mut octets = b"From: ".to_vec();
    match fields::display_name(from).filter(|_| addresses.len() == 1) {
        Some(name) => {
            octets.extend_from_slice(name);
            octets.extend_from_slice(format!(" <{address}>\r\n").as_bytes());
        }
        None => octets.extend_from_slice(format!("{address}\r\n").as_bytes()),
    }
    if !found.iter().any(|field| field.is("reply-to")) && !addresses.is_empty() {
        octets.extend_from_slice(b"Reply-To:");
        octets.extend_from_slice(from.value());
    }
    Some(octets)
}

#[cfg(test)]
mod tests;
