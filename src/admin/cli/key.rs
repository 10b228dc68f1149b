//! `postern key`: the master key, which seals what is kept.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use tracing::debug;
use zeroize::Zeroizing;

use crate::admin::cli::failure::{Failure, with_causes};
use crate::admin::cli::output::{Output, Tone};
use crate::admin::cli::set_up::SetUp;
use crate::admin::ops::{KeyChange, KeyStatus, Keys};
use crate::admin::tables::Entry;
use crate::base::{Fault, KeyId, Secret};
use crate::broker::vault::{self, Change, Inventory, SealedValue};

/// Change the master key, or see which key opens what
///
/// The master key seals the sign-ins in the store and the key of the app passwords.
#[derive(Args, Debug)]
pub(super) struct KeyGroup {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand, Debug)]
enum KeyCommand {
    Rotate(Rotate),
    Status(Status),
}

/// Change the master key; app passwords and sign-ins live on
///
/// A running `serve` goes on. If it is broken off at any point, everything still opens, and running it again ends it.
///
/// A key that Postern keeps itself is made anew and put in its place. With [keys] in the configuration the new key is yours to make:
/// name it with --new-key-file, then put it where [keys] finds the old one; until then both open everything.
#[derive(Args, Debug)]
struct Rotate {
    /// The file that holds the new key, 32 octets in base64; `-` is stdin
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
}

/// Show which key opens what
///
/// The status is 0 if everything that is sealed can be opened and 1 if not.
#[derive(Args, Debug)]
struct Status {}

#[derive(Serialize)]
struct RotatedDocument<'a> {
    key: String,
    was: String,
    wrapped: usize,
    unreadable: Vec<FaultDocument>,
    finished: bool,
    next: &'a [String],
}

#[derive(Serialize)]
struct StatusDocument<'a> {
    well: bool,
    source: &'a str,
    key: Option<String>,
    sealing: Option<String>,
    opening: Vec<String>,
    change: &'static str,
    values: Vec<ValueDocument<'a>>,
    fault: Option<FaultDocument>,
    next: &'a [String],
}

#[derive(Serialize)]
struct ValueDocument<'a> {
    what: &'a str,
    key: Option<String>,
    opens: Option<bool>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct FaultDocument {
    code: &'static str,
    message: String,
    remedy: Option<String>,
}

impl<E: Fault> From<&E> for FaultDocument {
    fn from(error: &E) -> Self {
        Self { code: error.code(), message: with_causes(error), remedy: error.remedy() }
    }
}

impl KeyGroup {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        match self.command {
            KeyCommand::Rotate(Rotate { new_key_file }) => {
                // Read before this process becomes another user, who may not be able to.
                let supplied = new_key_file.as_deref().map(read_new_key).transpose()?;
                let config = set_up.config()?;
                let change = set_up.wait_for(async {
                    let watch = &mut |step| debug!("changing the master key: {step:?}");
                    Ok(Keys::of(&config).rotate(supplied, watch).await?)
                })?;
                tell_change(&set_up.output, &change)
            }
            KeyCommand::Status(Status {}) => {
                let config = set_up.config()?;
                let status = set_up.wait_for(async { Ok(Keys::of(&config).status().await?) })?;
                tell_status(&set_up.output, &status)?;
                if status.inventory.is_well() { Ok(()) } else { Err(Failure::Told(1)) }
            }
        }
    }
}

fn tell_change(output: &Output, change: &KeyChange) -> Result<(), Failure> {
    let KeyChange { rotated, next } = change;
    let finished = rotated.change == Change::None;
    for error in &rotated.closed {
        output.problem(Tone::Warning, &with_causes(error), error.remedy().as_deref());
    }
    let values = if rotated.wrapped == 1 { "sealed value was" } else { "sealed values were" };
    if finished {
        output.note(&format!("the master key is {} now (it was {})", rotated.to, rotated.from));
    } else {
        output.note(&format!(
            "the master key {} takes the place of {}, which still opens everything",
            rotated.to, rotated.from
        ));
    }
    output.note(&format!("{} {values} wrapped anew; app passwords and sign-ins live on", rotated.wrapped));
    say_next(output, next);
    if output.is_json() {
        output.json(&RotatedDocument {
            key: rotated.to.to_string(),
            was: rotated.from.to_string(),
            wrapped: rotated.wrapped,
            unreadable: rotated.closed.iter().map(FaultDocument::from).collect(),
            finished,
            next,
        })?;
    }
    Ok(())
}

/// What to do next stays with -q: without it the change is never finished.
fn say_next(output: &Output, next: &[String]) {
    match next {
        [] => {}
        [only] => output.say(&format!("next: {only}")),
        several => {
            output.say("next:");
            for (number, step) in several.iter().enumerate() {
                output.say(&format!("  {}. {step}", number + 1));
            }
        }
    }
}

fn tell_status(output: &Output, status: &KeyStatus) -> Result<(), Failure> {
    let KeyStatus { inventory, next } = status;
    if output.is_json() {
        return output.json(&document(inventory, next));
    }
    output.table(&[], screen(inventory))?;
    if let Some(fault) = &inventory.fault {
        output.problem(Tone::Error, &with_causes(fault), fault.remedy().as_deref());
    } else {
        for fault in inventory.values.iter().filter_map(|value| value.fault.as_ref()) {
            output.problem(Tone::Warning, &with_causes(fault), fault.remedy().as_deref());
        }
    }
    say_next(output, next);
    Ok(())
}

fn document<'a>(inventory: &'a Inventory, next: &'a [String]) -> StatusDocument<'a> {
    let known = inventory.given.is_some();
    let id = |key: Option<KeyId>| key.map(|key| key.to_string());
    StatusDocument {
        well: inventory.is_well(),
        source: &inventory.place,
        key: id(inventory.given),
        sealing: id(inventory.sealing),
        opening: inventory.others.iter().map(ToString::to_string).collect(),
        change: change_name(inventory.change),
        values: inventory
            .values
            .iter()
            .map(|value| ValueDocument {
                what: &value.what,
                key: id(value.key),
                opens: known.then_some(value.fault.is_none()),
                reason: value.fault.as_ref().map(ToString::to_string),
            })
            .collect(),
        fault: inventory.fault.as_ref().map(FaultDocument::from),
        next,
    }
}

fn change_name(change: Change) -> &'static str {
    match change {
        Change::None => "none",
        Change::UnderWay { .. } => "under-way",
        Change::Switched { .. } => "switched",
    }
}

fn screen(inventory: &Inventory) -> Vec<Vec<Entry>> {
    let mut rows: Vec<Vec<Entry>> = vec![
        vec!["looked for in".into(), inventory.place.as_str().into()],
        vec![
            "master key".into(),
            match (inventory.given, &inventory.fault) {
                (Some(key), None) => Entry::Good(key.to_string()),
                (Some(key), Some(_)) => Entry::Bad(key.to_string()),
                (None, Some(_)) => Entry::Bad("none".to_owned()),
                (None, None) => Entry::Faint("made when it is first needed".to_owned()),
            },
        ],
    ];
    if let Some(key) = inventory.sealing.filter(|key| inventory.given != Some(*key)) {
        rows.push(vec!["seals".into(), key.to_string().into()]);
    }
    for key in inventory.others.iter().filter(|key| inventory.given != Some(**key)) {
        rows.push(vec!["the key before".into(), Entry::Faint(key.to_string())]);
    }
    rows.push(match inventory.change {
        Change::None => vec!["change".into(), Entry::Faint("none under way".to_owned())],
        Change::UnderWay { own: true } => vec!["change".into(), Entry::Bad("broken off".to_owned())],
        Change::UnderWay { own: false } => {
            vec!["change".into(), Entry::Bad("the old key is still in its place".to_owned())]
        }
        Change::Switched { .. } => {
            vec!["change".into(), Entry::Bad("the new key is in its place; not finished".to_owned())]
        }
    });
    let mut keys: Vec<Option<KeyId>> = inventory.values.iter().map(|value| value.key).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let of: Vec<&SealedValue> = inventory.values.iter().filter(|value| value.key == key).collect();
        let name = key.map_or_else(|| "sealed by an unnamed key".to_owned(), |key| format!("sealed by {key}"));
        let closed = of.iter().filter(|value| value.fault.is_some()).count();
        let mut text = match of.as_slice() {
            few if few.len() <= 3 => few.iter().map(|value| value.what.as_str()).collect::<Vec<_>>().join(", "),
            many => format!("{} values", many.len()),
        };
        if closed == of.len() {
            text.push_str("; cannot be opened");
        } else if closed > 0 {
            text.push_str(&format!("; {closed} of them cannot be opened"));
        }
        rows.push(vec![name.into(), if closed > 0 { Entry::Bad(text) } else { text.into() }]);
    }
    rows
}

/// Largest file that is taken as a key. A key has 45 octets.
const MAX_KEY_FILE_BYTES: u64 = 4096;

fn read_new_key(path: &Path) -> Result<Secret<[u8; 32]>, Failure> {
    let from_stdin = path.as_os_str() == "-";
    let name = if from_stdin { "stdin".to_owned() } else { format!("`{}`", path.display()) };
    // Room for the whole at once: growing would leave copies of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    let read = if from_stdin {
        std::io::stdin().lock().take(MAX_KEY_FILE_BYTES).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_KEY_FILE_BYTES).read_to_end(&mut bytes))
    };
    if let Err(error) = read {
        let message = format!("the new key cannot be read from {name}: {error}");
        return Err(Failure::operation("new-key-file", message, "Correct the path, or let this user read the file."));
    }
    let key = std::str::from_utf8(&bytes).map_err(|_| "it is not text").and_then(vault::read_key);
    key.map_err(|reason| {
        let message = format!("{name} holds no key: {reason}");
        Failure::operation("new-key-file", message, "Make one with `(umask 077; openssl rand -base64 32 > new.key)`.")
    })
}
