//! What tells the copy of one attempt from those of all others: the `id` of the `Received` that we have put in front, which nobody else
//! knows, with the number of the attempt behind it. While a client waits it has no number.

use std::borrow::Cow;

/// Where the `id` stands in a message that begins with our `Received`.
fn place_of_id(head: &[u8]) -> Option<std::ops::Range<usize>> {
    const BEGIN: &[u8] = b"Received: by ";
    let value = head.strip_prefix(BEGIN)?;
    let begin = memchr::memmem::find(value, b" id ")? + 4;
    let length = memchr::memchr(b';', value.get(begin..)?)?;
    let id = value.get(begin..begin + length)?;
    let is_ours = id.len() >= 12 && id.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-');
    is_ours.then_some(BEGIN.len() + begin..BEGIN.len() + begin + length)
}

/// What stands in the copy that Exchange files of this attempt at a message that begins like this, and in no other; 0 is the one while its
/// client waited.
pub(in crate::delivery) fn mark(head: &[u8], attempt: u32) -> Option<String> {
    let id = place_of_id(head).and_then(|place| std::str::from_utf8(head.get(place)?).ok())?;
    Some(if attempt == 0 { format!("{id};") } else { format!("{id}.{attempt};") })
}

/// The beginning of a message with the number of this attempt.
pub(in crate::delivery) fn numbered(head: &[u8], attempt: u32) -> Cow<'_, [u8]> {
    let Some(place) = place_of_id(head).filter(|_| attempt > 0) else { return Cow::Borrowed(head) };
    let (before, behind) = head.split_at(place.end);
    Cow::Owned([before, format!(".{attempt}").as_bytes(), behind].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_has_a_mark_of_its_own() {
        let id = "7Q2M4K9D7Q2M4K9D7Q2M4K9D";
        let head = format!("Received: by mail.test (Postern)\r\n\twith ESMTPSA id {id};\r\n\tnow\r\nFrom: a@b\r\n");
        assert_eq!(mark(head.as_bytes(), 0), Some(format!("{id};")));
        assert_eq!(numbered(head.as_bytes(), 0), head.as_bytes());
        let sent = String::from_utf8(numbered(head.as_bytes(), 12).into_owned()).unwrap();
        assert_eq!(sent, head.replace(id, &format!("{id}.12")));
        let marks: Vec<String> = [0, 1, 2, 12].iter().map(|n| mark(head.as_bytes(), *n).unwrap()).collect();
        for (place, one) in marks.iter().enumerate() {
            assert_eq!(sent.contains(one.as_str()), place == 3, "{one}");
        }
        for other in ["From: a@b\r\n", "Received: by x with SMTP id 1; now\r\n", "Received: by x"] {
            assert_eq!(mark(other.as_bytes(), 1), None, "{other}");
            assert_eq!(numbered(other.as_bytes(), 1), other.as_bytes());
        }
    }
}
