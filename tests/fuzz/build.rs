//! Makes the seeds: what the client sends in each transcript, and what the server says.

use std::fs;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=../transcripts");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for protocol in ["imap", "pop3", "smtp"] {
        let Ok(entries) = fs::read_dir(here.join("../transcripts").join(protocol)) else { continue };
        for file in entries.flatten().map(|entry| entry.path()) {
            let (Ok(text), Some(name)) = (fs::read_to_string(&file), file.file_stem()) else { continue };
            // The first octet chooses how the rest is cut and judged.
            let client = [&[0xff][..], &lines(&text, "C:")].concat();
            let server = [&[0xff][..], &lines(&text, "S:")].concat();
            write(&here.join("corpus").join(protocol), name, &client);
            write(&here.join("corpus/line"), name, &client);
            if protocol == "smtp" {
                write(&here.join("corpus/data"), name, &client);
                write(&here.join("corpus/reply"), name, &server);
            }
            for word in text.split_ascii_whitespace().filter(|word| word.len() > 11 && word.len() % 4 == 0) {
                write(
                    &here.join("corpus/sasl"),
                    word.get(..12).unwrap_or(word).replace('/', "_").as_ref(),
                    word.as_bytes(),
                );
            }
        }
    }
}

fn write(folder: &Path, name: &std::ffi::OsStr, octets: &[u8]) {
    // A seed that cannot be written is no reason not to build.
    let _ = fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(name), octets));
}

fn lines(text: &str, prefix: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for words in text.lines().filter_map(|line| line.strip_prefix(prefix)) {
        let words = words.strip_prefix(' ').unwrap_or(words);
        let (words, end) = words.strip_suffix("\\c").map_or((words, "\r\n"), |words| (words, ""));
        unescape(words, &mut out);
        out.extend(end.as_bytes());
    }
    out
}

fn unescape(words: &str, out: &mut Vec<u8>) {
    let mut octets = words.bytes();
    while let Some(octet) = octets.next() {
        if octet != b'\\' {
            out.push(octet);
            continue;
        }
        match octets.next() {
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b'0') => out.push(0),
            Some(b's') => out.push(b' '),
            Some(b'x') => {
                let digits: String = octets.by_ref().take(2).map(char::from).collect();
                out.extend(u8::from_str_radix(&digits, 16).ok());
            }
            other => out.extend(other),
        }
    }
}
