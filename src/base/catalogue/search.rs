//! Finding entries in a text: a number, a reply, a log line, an error mail.

use std::collections::HashSet;

use crate::base::catalogue::{Area, Entry, Places, ReplyCode, aadsts, by_code, entries};

/// An entry that a text leads to.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The entry.
    pub entry: &'static Entry,
    /// What led to it.
    pub how: Match,
}

/// What led to an entry, the most specific first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// Its number, its name, or words that only it has.
    Exact,
    /// Its reply code, which no other entry has.
    Code,
    /// A reply code that several entries share: it is one of these, and their words tell them apart.
    OneOf,
    /// The OAuth error that the refusal stands under.
    Class,
    /// The short name of a failure of Postern's, beside something more specific.
    Own,
}

/// What was found in a text.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The entries, the most specific first, then in the order of the text.
    pub found: Vec<Found>,
    /// AADSTS numbers that the catalogue does not have.
    pub unknown_numbers: Vec<u64>,
    /// Replies that the catalogue does not have, as `550 5.4.1`.
    pub unknown_replies: Vec<String>,
    /// References of six characters.
    pub references: Vec<String>,
    mailbox: Option<String>,
    sender: Option<String>,
    client_id: Option<String>,
}

impl Search {
    /// What the text says of mailbox, sender and application, for the places of remedies.
    pub fn places(&self) -> Places<'_> {
        Places {
            mailbox: self.mailbox.as_deref(),
            sender: self.sender.as_deref(),
            tenant: None,
            client_id: self.client_id.as_deref(),
            object_id: None,
        }
    }
}

/// The most that is read of a text. Error mails are shorter; what comes behind is not looked at.
const MOST_OCTETS: usize = 1024 * 1024;

/// The most different codes of a kind that are taken from a text, so that a text of codes alone costs no more than its length.
const MOST_CODES: usize = 200;

/// Finds every entry that a text leads to. It may be a number (`7000222`), a code (`AADSTS7000222`, `535 5.7.139`, `5.7.60`), the name of
/// an entry, or any text with such in it.
pub fn search(text: &str) -> Search {
    let text = Text::new(text);
    let mut hits = Vec::new();
    let mut result = Search::default();
    if let Some(entry) = by_code(&text.whole) {
        hits.push((Match::Exact, 0, entry));
    }
    for (place, number) in text.aadsts_numbers() {
        match aadsts(number) {
            Some(entry) => hits.push((Match::Exact, place, entry)),
            None if !result.unknown_numbers.contains(&number) => result.unknown_numbers.push(number),
            None => {}
        }
    }
    let number_known = !hits.is_empty();
    for entry in entries() {
        let places = entry.marks.iter().filter(|_| !matches!(entry.area, Area::OAuth));
        if let Some(place) = places.filter_map(|mark| text.words(mark)).min() {
            hits.push((Match::Exact, place, entry));
        }
    }
    for reply in text.replies() {
        let candidates = candidates(&reply);
        if candidates.is_empty() {
            let shown = reply.shown();
            if !result.unknown_replies.contains(&shown) {
                result.unknown_replies.push(shown);
            }
        }
        // Where the words tell which one it is, the others are not it.
        if candidates
            .iter()
            .any(|entry| hits.iter().any(|(how, _, hit)| *how == Match::Exact && hit.code == entry.code))
        {
            continue;
        }
        let how = match candidates.as_slice() {
            [only] if !only.words_decide || !reply.has_words => Match::Code,
            _ => Match::OneOf,
        };
        hits.extend(candidates.into_iter().map(|entry| (how, reply.place, entry)));
    }
    for entry in entries() {
        match entry.area {
            Area::OAuth if !number_known => {
                let names = std::iter::once(&entry.code).chain(entry.marks);
                if let Some(place) = names.filter_map(|name| text.word(name)).min() {
                    hits.push((Match::Class, place, entry));
                }
            }
            Area::Own => {
                if let Some(place) = text.word(entry.code) {
                    hits.push((Match::Own, place, entry));
                }
            }
            _ => {}
        }
    }
    hits.sort_by_key(|(how, place, _)| (*how, *place));
    let mut seen = HashSet::new();
    result.found = hits
        .into_iter()
        .filter(|(_, _, entry)| seen.insert(entry.code))
        .map(|(how, _, entry)| Found { entry, how })
        .collect();
    result.references = text.references(result.found.is_empty());
    (result.mailbox, result.sender) = text.addresses();
    result.client_id = text.application();
    result
}

/// The entry of an SMTP reply of Exchange: its code and its text, which may begin with an enhanced code. `None` where none is known, or
/// where the words do not tell which of several it is.
pub fn exchange_reply(code: u16, text: &str) -> Option<&'static Entry> {
    let whole = Text::new(&format!("{code} {text}"));
    let by_words =
        |entry: &&Entry| entry.area == Area::Smtp && entry.marks.iter().any(|mark| whole.words(mark).is_some());
    if let Some(entry) = entries().find(by_words) {
        return Some(entry);
    }
    let reply = whole.replies().into_iter().next()?;
    let mut candidates = candidates(&reply);
    candidates.retain(|entry| entry.area == Area::Smtp && !entry.words_decide);
    match candidates.as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

/// The entry of an answer of Exchange by IMAP or POP3.
pub fn mailbox_answer(text: &str) -> Option<&'static Entry> {
    let text = Text::new(text);
    entries()
        .filter(|entry| matches!(entry.area, Area::Imap | Area::Pop3))
        .find(|entry| entry.marks.iter().any(|mark| text.words(mark).is_some()))
}

/// The entries that come with a reply: those with this code, else those with this enhanced code; of those only the most narrow.
fn candidates(reply: &Reply) -> Vec<&'static Entry> {
    let fits = |known: &ReplyCode, with_code: bool| {
        let code = !with_code || reply.code.is_none() || known.code == reply.code;
        let enhanced = reply.enhanced.is_none_or(|(class, subject, detail)| {
            known.class == (class, subject) && (known.details.0..=known.details.1).contains(&detail)
        });
        code && enhanced
    };
    let with = |with_code: bool| -> Vec<(u16, &'static Entry)> {
        entries()
            .filter_map(|entry| {
                let widths = entry.replies.iter().filter(|known| fits(known, with_code));
                Some((widths.map(|known| known.details.1 - known.details.0).min()?, entry))
            })
            .collect()
    };
    let mut found = with(true);
    if found.is_empty() && reply.enhanced.is_some() {
        found = with(false);
    }
    let narrowest = found.iter().map(|(width, _)| *width).min().unwrap_or_default();
    // A range is only the answer where no entry knows the very number.
    found.retain(|(width, _)| reply.enhanced.is_none() || *width == narrowest);
    found.into_iter().map(|(_, entry)| entry).collect()
}

/// A reply in a text.
#[derive(Debug)]
struct Reply {
    place: usize,
    code: Option<u16>,
    enhanced: Option<(u8, u16, u16)>,
    /// Whether words follow it.
    has_words: bool,
}

impl Reply {
    fn is_like(&self, other: &Self) -> bool {
        self.code == other.code && self.enhanced == other.enhanced && self.has_words == other.has_words
    }

    fn shown(&self) -> String {
        let enhanced = self.enhanced.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}"));
        let code = self.code.map(|code| code.to_string());
        [code, enhanced].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// A text made ready for looking things up: one line, lower case, with plain quotes.
struct Text {
    /// All of it.
    line: String,
    /// The same without what people put around a code.
    whole: String,
}

impl Text {
    fn new(text: &str) -> Self {
        let mut end = text.len().min(MOST_OCTETS);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default();
        // The soft line ends of quoted-printable (RFC 2045, section 6.7) stand in the middle of words.
        let joined =
            without_colours(text).replace("=\r\n", "").replace("=\n", "").replace(['\u{2018}', '\u{2019}'], "'");
        let words: Vec<&str> =
            joined.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
        let line = words.join(" ").to_ascii_lowercase();
        let whole = line.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
        Self { line, whole }
    }

    /// Where these words stand.
    fn words(&self, words: &str) -> Option<usize> {
        self.line.find(&words.to_ascii_lowercase())
    }

    /// Where this word stands alone.
    fn word(&self, word: &str) -> Option<usize> {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        self.line.match_indices(&word.to_ascii_lowercase()).map(|(place, _)| place).find(|place| {
            let (before, rest) = self.line.split_at(*place);
            !before.ends_with(part) && !rest.get(word.len()..).unwrap_or_default().starts_with(part)
        })
    }

    /// The AADSTS numbers, however they are written.
    fn aadsts_numbers(&self) -> Vec<(usize, u64)> {
        let mut numbers = Vec::new();
        if let Ok(number) = self.whole.parse()
            && self.whole.len() > 3
        {
            numbers.push((0, number));
        }
        for before in ["aadsts", "error?code=", "error code", "errorcode", "error_code"] {
            for (place, _) in self.line.match_indices(before) {
                let rest = self.line.get(place + before.len()..).unwrap_or_default();
                let rest = rest.trim_start_matches([' ', ':', '=', '"', '\'', '#']);
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                // Other error codes have less digits.
                if let Some(Ok(number)) = rest.get(..end).filter(|digits| digits.len() > 4).map(str::parse)
                    && numbers.len() < MOST_CODES
                    && numbers.iter().all(|(_, known)| *known != number)
                {
                    numbers.push((place, number));
                }
            }
        }
        for (place, list) in self.line.match_indices("error_codes") {
            let rest = self.line.get(place + list.len()..).unwrap_or_default();
            let list = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
            numbers.extend(list.split(',').take(9).filter_map(|number| Some((place, number.trim().parse().ok()?))));
            numbers.truncate(MOST_CODES);
        }
        numbers
    }

    /// The replies: enhanced codes with the three digits before them, and three digits alone at the very beginning.
    fn replies(&self) -> Vec<Reply> {
        let bytes = self.line.as_bytes();
        let mut replies: Vec<Reply> = Vec::new();
        let mut place = 0;
        while let Some(octet) = bytes.get(place)
            && replies.len() < MOST_CODES
        {
            let before = place.checked_sub(1).and_then(|before| bytes.get(before));
            let begins =
                matches!(octet, b'4' | b'5') && !before.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'.');
            match begins.then(|| enhanced(self.line.get(place..).unwrap_or_default())).flatten() {
                Some((enhanced, length)) => {
                    let (code, start) = self.code_before(place);
                    let rest = self.line.get(place + length..).unwrap_or_default();
                    let reply = Reply { place: start, code, enhanced: Some(enhanced), has_words: has_words(rest) };
                    if replies.iter().all(|known| !known.is_like(&reply)) {
                        replies.push(reply);
                    }
                    place += length;
                }
                None => place += 1,
            }
        }
        let digits =
            self.whole.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit())).and_then(|c| c.parse().ok());
        let rest = self.whole.get(3..).unwrap_or_default();
        if let Some(code @ 400..=599) = digits
            && (rest.is_empty() || rest.starts_with([' ', '-']))
            && !replies.iter().any(|reply| reply.code == Some(code))
        {
            replies.insert(0, Reply { place: 0, code: Some(code), enhanced: None, has_words: has_words(rest) });
        }
        replies
    }

    /// The three digits right before `place`, and where they begin.
    fn code_before(&self, place: usize) -> (Option<u16>, usize) {
        let before = self.line.get(..place).unwrap_or_default();
        let Some(rest) = before.strip_suffix(' ').or_else(|| before.strip_suffix('-')) else { return (None, place) };
        let start = rest.len().saturating_sub(3);
        let digits = rest.get(start..).unwrap_or_default();
        let alone = !rest.get(..start).unwrap_or_default().ends_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
        match digits.parse() {
            Ok(code @ 400..=599) if alone => (Some(code), start),
            _ => (None, place),
        }
    }

    /// References: behind `ref` or `reference`, or the whole text if nothing else was found in it.
    fn references(&self, alone_too: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut take = |word: &str| {
            let word = word.to_ascii_uppercase();
            if is_reference(&word) && found.len() < MOST_CODES && !found.contains(&word) {
                found.push(word);
            }
        };
        if alone_too {
            take(&self.whole);
        }
        let mut words = self.line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            if matches!(word, "ref" | "reference") {
                words.clone().next().into_iter().for_each(&mut take);
            }
        }
        found
    }

    /// The mailbox and the sender, where the text names them in a way that we know: Exchange's words, or the fields of our log.
    fn addresses(&self) -> (Option<String>, Option<String>) {
        let address = |word: &str| {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric());
            word.split_once('@')
                .is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.'))
                .then(|| word.to_owned())
        };
        if let Some((before, after)) = self.line.split_once(" not allowed to send as ") {
            let mailbox = before.rsplit([' ', ';']).next().and_then(address);
            let sender = after.split([' ', ';']).next().and_then(address);
            return (mailbox, sender);
        }
        let behind = ["mailbox.id=", "the login of ", "the token for ", "signed in for "]
            .into_iter()
            .find_map(|before| address(self.line.split_once(before)?.1.split([' ', ';', ',']).next()?));
        (behind, None)
    }

    /// The application's ID, where Entra ID's words name it.
    fn application(&self) -> Option<String> {
        ["identifier '", "app '", "application '", "with id '", "client app id: "].into_iter().find_map(|before| {
            let id = self.line.split_once(before)?.1.get(..36)?;
            let is_guid = id.char_indices().all(|(place, c)| match place {
                8 | 13 | 18 | 23 => c == '-',
                _ => c.is_ascii_hexdigit(),
            });
            is_guid.then(|| id.to_owned())
        })
    }
}

/// The text without a terminal's colours, which a copied log line may have in it.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split("\u{1b}[");
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(part.len());
        let rest = part.get(end..).unwrap_or_default();
        plain.push_str(rest.strip_prefix('m').unwrap_or(rest));
    }
    plain
}

/// Whether something stands there that could tell one cause from another.
fn has_words(rest: &str) -> bool {
    rest.starts_with(['-', ' ']) && rest.chars().take(100).any(|c| c.is_ascii_alphabetic())
}

/// Six letters or digits that are not mistaken for one another, as `base::Reference` makes them.
fn is_reference(word: &str) -> bool {
    word.len() == 6 && word.bytes().all(|b| matches!(b, b'2'..=b'9' | b'A'..=b'H' | b'J'..=b'N' | b'P'..=b'Z'))
}

/// An enhanced code at the beginning of a text, and its length.
fn enhanced(text: &str) -> Option<((u8, u16, u16), usize)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let word = text.get(..end)?.trim_end_matches('.');
    // Something longer with dots is an address or a version.
    if text.get(end..).unwrap_or_default().starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let mut parts = word.split('.');
    let mut part = || parts.next().filter(|part| (1..=3).contains(&part.len()));
    let (class, subject, detail) = (part()?, part()?, part()?);
    if parts.next().is_some() {
        return None;
    }
    Some(((class.parse().ok()?, subject.parse().ok()?, detail.parse().ok()?), word.len()))
}
