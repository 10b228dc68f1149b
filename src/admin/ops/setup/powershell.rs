//! Values in PowerShell: a text can neither end its string nor its comment, however the file is read.

/// `text` as a PowerShell expression, in ASCII alone.
///
/// Within single quotes nothing is expanded and only a quote, doubled here, means anything. PowerShell takes typographic quotes for the
/// same, and Windows PowerShell reads a file without a byte order mark in the code page of the machine, where the octets of another
/// letter can become one. So what is not printable ASCII is written by its number.
pub(super) fn quoted(text: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut plain = String::new();
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(octet @ b' '..=b'~') => {
                if octet == b'\'' {
                    plain.push('\'');
                }
                plain.push(char::from(octet));
            }
            _ => {
                // The first one is a string, so that `+` joins strings and does not add numbers.
                if !plain.is_empty() || parts.is_empty() {
                    parts.push(format!("'{plain}'"));
                    plain.clear();
                }
                parts.push(format!("[char]0x{unit:04X}"));
            }
        }
    }
    if !plain.is_empty() || parts.is_empty() {
        parts.push(format!("'{plain}'"));
    }
    match parts.as_slice() {
        [only] => only.clone(),
        several => format!("({})", several.join(" + ")),
    }
}

/// `text` for a comment: one line of printable ASCII.
pub(super) fn comment(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads an expression as PowerShell does: strings in single quotes, and characters by their number, joined by `+`. `None` if it is
    /// anything else.
    pub(in crate::admin::ops::setup) fn read(expression: &str) -> Option<String> {
        let inner = match expression.strip_prefix('(') {
            Some(rest) => rest.strip_suffix(')')?,
            None => expression,
        };
        let mut units: Vec<u16> = Vec::new();
        let mut rest = inner;
        loop {
            if let Some(number) = rest.strip_prefix("[char]0x") {
                units.push(u16::from_str_radix(number.get(..4)?, 16).ok()?);
                rest = number.get(4..)?;
            } else {
                let mut string = rest.strip_prefix('\'')?;
                loop {
                    let end = string.find(['\'', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201b}'])?;
                    let (before, behind) = string.split_at(end);
                    units.extend(before.encode_utf16());
                    let behind = behind.strip_prefix('\'')?;
                    match behind.strip_prefix('\'') {
                        Some(more) => {
                            units.push(u16::from(b'\''));
                            string = more;
                        }
                        None => {
                            rest = behind;
                            break;
                        }
                    }
                }
            }
            match rest.strip_prefix(" + ") {
                Some(more) => rest = more,
                None if rest.is_empty() => return String::from_utf16(&units).ok(),
                None => return None,
            }
        }
    }

    #[test]
    fn what_is_dangerous_is_a_string_and_nothing_more() {
        for (text, expected) in [
            ("alice@contoso.com", "'alice@contoso.com'"),
            ("", "''"),
            ("o'neil@x", "'o''neil@x'"),
            ("'; Remove-Item C:\\ #", "'''; Remove-Item C:\\ #'"),
            ("$(whoami)`n", "'$(whoami)`n'"),
            ("j\u{f6}rg@x", "('j' + [char]0x00F6 + 'rg@x')"),
            ("\u{2019}; evil", "('' + [char]0x2019 + '; evil')"),
            ("a\r\nb", "('a' + [char]0x000D + [char]0x000A + 'b')"),
            ("\u{1f600}", "('' + [char]0xD83D + [char]0xDE00)"),
        ] {
            assert_eq!(quoted(text), expected);
            assert_eq!(read(expected).as_deref(), Some(text));
        }
        assert_eq!(comment("a\r\nRemove-Item #> \u{2028}x"), "a??Remove-Item #> ?x");
        assert_eq!(read("'a'; evil"), None);
        assert_eq!(read("'a\u{2019}; evil #'"), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_string(text in "\\PC{0,40}|['\u{2018}-\u{201b}\"`$;#\\s\u{0}a\u{1f600}\u{e9}]{0,40}") {
            let expression = quoted(&text);
            prop_assert!(expression.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{}", expression);
            let found = read(&expression);
            prop_assert_eq!(found.as_deref(), Some(text.as_str()));
            prop_assert!(comment(&text).bytes().all(|octet| (b' '..=b'~').contains(&octet)));
        }
    }
}
