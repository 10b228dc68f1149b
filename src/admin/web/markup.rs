//! The frame of every page, and tables as HTML. Everything that is put in is escaped by `html!`.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

use crate::admin::tables::{Column, Entry, Facts, harmless};
use crate::admin::web::Visitor;

/// The pages that one can go to.
const PAGES: [(&str, &str); 8] = [
    ("", "Overview"),
    ("passwords", "App passwords"),
    ("mailboxes", "Mailboxes"),
    ("queue", "Mail waiting"),
    ("sent", "Mail sent"),
    ("audit", "Audit"),
    ("bans", "Bans"),
    ("explain", "Explain"),
];

/// What is no longer than this, such as a time, is not broken into lines in a list.
const WHOLE: usize = 24;

/// A whole page; with the ways to the others where somebody is signed in.
pub(in crate::admin::web) fn page(title: &str, visitor: Option<&Visitor>, body: &Markup) -> Html<String> {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (harmless(title)) " · Postern" }
                link rel="stylesheet" href="/style.css";
            }
            body {
                @if let Some(visitor) = visitor {
                    header {
                        nav {
                            @for (path, name) in PAGES {
                                a href=(visitor.path(path)) aria-current=[(name == title).then_some("page")] { (name) }
                            }
                        }
                        form method="post" action=(visitor.path("sign-out")) {
                            span.faint { (harmless(&visitor.who)) }
                            button type="submit" { "Sign out" }
                        }
                    }
                }
                main {
                    h1 { (harmless(title)) }
                    (body)
                }
            }
        }
    };
    Html(markup.into_string())
}

impl Visitor {
    /// The address of one of the pages.
    pub(in crate::admin::web) fn path(&self, page: &str) -> String {
        format!("/s/{}/{page}", self.place)
    }
}

/// Running text, with what stands between backticks as something to be copied, and lines that are indented as commands.
pub(in crate::admin::web) fn words(text: &str) -> Markup {
    let text = harmless(text);
    html! {
        @for (number, line) in text.lines().enumerate() {
            @if let Some(command) = line.strip_prefix("    ") {
                code.command { (command.trim_start()) }
            } @else {
                @if number > 0 { br; }
                (in_line(line))
            }
        }
    }
}

fn in_line(line: &str) -> Markup {
    let is_whole = line.matches('`').count().is_multiple_of(2);
    html! {
        @if is_whole {
            @for (number, part) in line.split('`').enumerate() {
                @if number % 2 == 1 { code { (part) } } @else { (part) }
            }
        } @else {
            (line)
        }
    }
}

fn class(entry: &Entry) -> Option<&'static str> {
    match entry {
        Entry::Plain(_) => None,
        Entry::Good(_) => Some("good"),
        Entry::Bad(_) => Some("bad"),
        Entry::Faint(_) => Some("faint"),
    }
}

/// What is known about one thing.
pub(in crate::admin::web) fn facts<N: AsRef<str>>(facts: &[(N, Entry)]) -> Markup {
    html! {
        table.facts {
            @for (name, entry) in facts {
                tr {
                    th scope="row" { (harmless(name.as_ref())) }
                    td class=[class(entry)] { (words(entry.text())) }
                }
            }
        }
    }
}

/// The facts without those of these names.
pub(in crate::admin::web) fn without(facts: Facts, names: &[&str]) -> Facts {
    facts.into_iter().filter(|(name, _)| !names.contains(name)).collect()
}

/// A list; `link` is the way to the page of a row, from its first column.
pub(in crate::admin::web) fn list(columns: Vec<Column>, link: impl Fn(&str) -> Option<String>) -> Markup {
    let columns: Vec<Column> = columns.into_iter().filter(|column| column.stays || column.tells()).collect();
    let count = columns.first().map_or(0, |column| column.cells.len());
    html! {
        div.wide {
            table.list {
                thead { tr { @for column in &columns { th scope="col" { (column.header) } } } }
                tbody {
                    @for row in 0..count {
                        tr {
                            @for (number, column) in columns.iter().enumerate() {
                                @if let Some(entry) = column.cells.get(row) {
                                    td class=[class(entry)] data-whole[entry.text().len() <= WHOLE] {
                                        @match link(entry.text()).filter(|_| number == 0) {
                                            Some(path) => { a href=(path) { (harmless(entry.text())) } }
                                            None => { (words(entry.text())) }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One part of an address, with what has a meaning there written out.
pub(in crate::admin::web) fn part(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_text_and_nothing_else() {
        let hostile = "<script>alert(1)</script>\" onclick=\"x\u{202e}\u{1b}[31m&amp; `a<b`";
        let shown = [
            words(hostile).into_string(),
            facts(&[(hostile, Entry::Bad(hostile.to_owned()))]).into_string(),
            list(vec![Column::fixed("ID", [Entry::from(hostile)].into_iter())], |text| Some(part(text))).into_string(),
            page(hostile, Some(&Visitor { place: "x".into(), who: hostile.into() }), &html! {}).0,
        ];
        for shown in shown {
            assert!(!shown.contains("<script") && !shown.contains("onclick=\""), "{shown}");
            assert!(!shown.contains('\u{202e}') && !shown.contains('\u{1b}'), "{shown:?}");
            assert!(shown.contains("&lt;script&gt;") && shown.contains("&amp;amp;"), "{shown}");
        }
    }

    #[test]
    fn commands_can_be_told_from_words() {
        let shown = words("Sign in: `postern mailbox connect a@x.test`.\n    postern console\nThen wait").into_string();
        assert_eq!(
            shown,
            "Sign in: <code>postern mailbox connect a@x.test</code>.<code class=\"command\">postern console</code><br>Then wait"
        );
        assert_eq!(words("half a `quote").into_string(), "half a `quote");
    }

    #[test]
    fn a_part_of_an_address_stays_one_part() {
        assert_eq!(part("a b/../c?d#e&f+g@x.test"), "a%20b%2F..%2Fc%3Fd%23e%26f%2Bg%40x.test");
    }
}
