//! The commands that concern folders as such (RFC 3501, section 6.3).

use crate::sandbox::imap::parse::Parser;
use crate::sandbox::imap::view::View;
use crate::sandbox::imap::{ARGUMENT_ERROR, Outcome, Session, done};
use crate::sandbox::mailbox::{DEFAULT_FOLDERS, folder_key};

/// The flags that a client may keep.
const FLAGS: &str = "(\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent)";

impl Session {
    /// Does the command, if it is one of these.
    pub(super) fn folder_command(&mut self, name: &str, mut parser: Parser<'_>) -> Option<Outcome> {
        let done_or_error = match name {
            "SELECT" | "EXAMINE" => self.select(name, &mut parser),
            "LIST" | "LSUB" => self.list(name, &mut parser),
            "STATUS" => self.status(&mut parser),
            "CREATE" | "DELETE" | "RENAME" | "SUBSCRIBE" | "UNSUBSCRIBE" => self.change_folder(name, &mut parser),
            "NAMESPACE" => {
                self.say("* NAMESPACE ((\"\" \"/\")) NIL NIL");
                Some(done("NAMESPACE"))
            }
            _ => return None,
        };
        Some(done_or_error.unwrap_or(ARGUMENT_ERROR))
    }

    fn mailbox_of_login(&self) -> String {
        self.login.as_ref().map(|login| login.mailbox.clone()).unwrap_or_default()
    }

    fn select(&mut self, name: &str, parser: &mut Parser<'_>) -> Option<Outcome> {
        parser.space()?;
        let folder = folder_key(&parser.mailbox()?);
        parser.end()?;
        // A failed SELECT leaves nothing selected (RFC 3501, section 6.3.1).
        self.selected = None;
        let read_only = name == "EXAMINE";
        let opened = self.tenant.mailboxes.with_folder(&self.mailbox_of_login(), &folder, |found| {
            let view = View::open(folder.clone(), read_only, found);
            let recent = view.recent.len();
            let unseen = found.messages.iter().position(|message| !message.flags.contains("\\Seen"));
            let mut lines =
                vec![format!("* {} EXISTS", view.uids.len()), format!("* {recent} RECENT"), format!("* FLAGS {FLAGS}")];
            lines.push(if read_only {
                "* OK [PERMANENTFLAGS ()] Permanent flags".to_owned()
            } else {
                format!("* OK [PERMANENTFLAGS {FLAGS}] Permanent flags")
            });
            lines.extend(unseen.map(|at| format!("* OK [UNSEEN {}] Is the first unseen message", at + 1)));
            lines.push(format!("* OK [UIDVALIDITY {}] UIDVALIDITY value", found.uid_validity));
            lines.push(format!("* OK [UIDNEXT {}] The next unique identifier value", found.uid_next));
            (view, lines)
        });
        let Some((view, lines)) = opened else {
            return Some(Outcome::No(format!("{folder} doesn't exist.")));
        };
        lines.iter().for_each(|line| self.say(line));
        self.selected = Some(view);
        let mode = if read_only { "READ-ONLY" } else { "READ-WRITE" };
        Some(Outcome::Ok(format!("[{mode}] {name} completed.")))
    }

    fn list(&mut self, name: &str, parser: &mut Parser<'_>) -> Option<Outcome> {
        parser.space()?;
        let reference = parser.mailbox()?;
        parser.space()?;
        let pattern = parser.list_mailbox()?;
        parser.end()?;
        if pattern.is_empty() {
            self.say(&format!("* {name} (\\Noselect \\HasChildren) \"/\" \"\""));
            return Some(done(name));
        }
        let pattern = folder_key(&format!("{reference}{pattern}"));
        let lines = self.tenant.mailboxes.with(&self.mailbox_of_login(), |account| {
            let names: Vec<&String> = account.folders.keys().collect();
            let wanted = account
                .folders
                .iter()
                .filter(|(folder, held)| matches(&pattern, folder) && (name == "LIST" || held.subscribed));
            wanted
                .map(|(folder, _)| {
                    let below = format!("{folder}/");
                    let has = names.iter().any(|other| other.starts_with(&below));
                    let children = if has { "\\HasChildren" } else { "\\HasNoChildren" };
                    format!("* {name} ({}) \"/\" {}", attributes(folder, children), shown(folder))
                })
                .collect::<Vec<_>>()
        });
        lines.unwrap_or_default().iter().for_each(|line| self.say(line));
        Some(done(name))
    }

    fn status(&mut self, parser: &mut Parser<'_>) -> Option<Outcome> {
        parser.space()?;
        let folder = folder_key(&parser.mailbox()?);
        parser.space()?;
        parser.octet(b'(')?;
        let mut items = vec![parser.keyword()?];
        while parser.space().is_some() {
            items.push(parser.keyword()?);
        }
        parser.octet(b')')?;
        parser.end()?;
        let answer = self.tenant.mailboxes.with_folder(&self.mailbox_of_login(), &folder, |found| {
            let count = |wanted: &dyn Fn(&crate::sandbox::mailbox::Message) -> bool| {
                found.messages.iter().filter(|message| wanted(message)).count()
            };
            let values: Option<Vec<String>> = items
                .iter()
                .map(|item| {
                    let value = match item.as_str() {
                        "MESSAGES" => found.messages.len(),
                        "RECENT" => count(&|message| message.recent),
                        "UNSEEN" => count(&|message| !message.flags.contains("\\Seen")),
                        "UIDNEXT" => usize::try_from(found.uid_next).ok()?,
                        "UIDVALIDITY" => usize::try_from(found.uid_validity).ok()?,
                        _ => return None,
                    };
                    Some(format!("{item} {value}"))
                })
                .collect();
            values.map(|values| values.join(" "))
        });
        match answer {
            None => Some(Outcome::No(format!("{folder} doesn't exist."))),
            Some(values) => {
                self.say(&format!("* STATUS {} ({})", shown(&folder), values?));
                Some(done("STATUS"))
            }
        }
    }

    fn change_folder(&mut self, name: &str, parser: &mut Parser<'_>) -> Option<Outcome> {
        parser.space()?;
        let folder = parser.mailbox()?;
        let folder = folder_key(folder.strip_suffix('/').unwrap_or(&folder));
        let new_name = if name == "RENAME" {
            parser.space()?;
            Some(folder_key(&parser.mailbox()?))
        } else {
            None
        };
        parser.end()?;
        if folder.is_empty() {
            return None;
        }
        let reserved = DEFAULT_FOLDERS.contains(&folder.as_str());
        if reserved && matches!(name, "CREATE" | "DELETE" | "RENAME") {
            return Some(Outcome::No("Folder name is reserved".into()));
        }
        let changed = self.tenant.mailboxes.with(&self.mailbox_of_login(), |account| match (name, &new_name) {
            ("CREATE", _) => account.create(&folder),
            ("DELETE", _) => account.folders.remove(&folder).is_some(),
            ("RENAME", Some(new_name)) => account.rename(&folder, new_name),
            _ => account.folders.get_mut(&folder).map(|found| found.subscribed = name == "SUBSCRIBE").is_some(),
        });
        Some(match (changed, name) {
            (Some(true), _) => done(name),
            (_, "CREATE") => Outcome::No("Mailbox already exists.".into()),
            _ => Outcome::No(format!("{folder} doesn't exist.")),
        })
    }
}

/// What LIST and LSUB say of a folder. The uses of RFC 6154 are told without being asked for and without the capability
/// SPECIAL-USE; the archive has none.
fn attributes(folder: &str, children: &str) -> String {
    match folder {
        "INBOX" => format!("\\Marked {children}"),
        "Deleted Items" => format!("{children} \\Trash"),
        "Drafts" => format!("{children} \\Drafts"),
        "Junk Email" => format!("{children} \\Junk"),
        "Sent Items" => format!("{children} \\Sent"),
        _ => children.to_owned(),
    }
}

/// A folder's name as Exchange writes it: bare if it can be an atom, in quotes otherwise.
pub(super) fn shown(folder: &str) -> String {
    let bare = |octet: u8| octet.is_ascii_alphanumeric() || b"-_/.&+".contains(&octet);
    if folder.bytes().all(bare) && !folder.is_empty() {
        folder.to_owned()
    } else {
        format!("\"{}\"", folder.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// `*` stands for anything, `%` for anything within one level (RFC 3501, section 6.3.8).
fn matches(pattern: &str, folder: &str) -> bool {
    // The states of a pattern that may still match, kept as offsets: no pattern can take long.
    let pattern: Vec<char> = pattern.chars().collect();
    let mut at: Vec<bool> = vec![false; pattern.len() + 1];
    let open = |at: &mut Vec<bool>| {
        for place in 0..pattern.len() {
            let opens = at.get(place) == Some(&true) && matches!(pattern.get(place), Some('*' | '%'));
            if let Some(next) = at.get_mut(place + 1).filter(|_| opens) {
                *next = true;
            }
        }
    };
    if let Some(first) = at.first_mut() {
        *first = true;
    }
    open(&mut at);
    for letter in folder.chars() {
        let mut next = vec![false; pattern.len() + 1];
        for (place, wanted) in pattern.iter().enumerate().filter(|(place, _)| at.get(*place) == Some(&true)) {
            let to = match wanted {
                '*' => Some(place),
                '%' => (letter != '/').then_some(place),
                wanted => (*wanted == letter).then_some(place + 1),
            };
            if let Some(reached) = to.and_then(|to| next.get_mut(to)) {
                *reached = true;
            }
        }
        open(&mut next);
        at = next;
    }
    at.last() == Some(&true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stay_within_a_level_or_cross_it() {
        for (pattern, folder, expected) in [
            ("*", "A/B", true),
            ("%", "A/B", false),
            ("%", "A", true),
            ("A/%", "A/B", true),
            ("A%", "A/B", false),
            ("A*", "A", true),
            ("*t*s", "Sent Items", true),
            ("INBOX", "INBOX", true),
            ("Sent", "Sent Items", false),
            ("%/%", "A/B/C", false),
            ("*******************************x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern, folder), expected, "{pattern} {folder}");
        }
        assert_eq!(
            (shown("INBOX"), shown("Sent Items"), shown("")),
            ("INBOX".into(), "\"Sent Items\"".into(), "\"\"".into())
        );
    }
}
