//! Setting up the log.
//!
//! It is fed by `tracing` alone. The `log` crate is left without a listener on purpose: async-imap writes every line it sends and
//! receives to it, tokens and mail included.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing::warn;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Errors alone, for a command that tells everything itself.
    Errors,
    /// `-q`: what is unusual, and what someone must mend.
    Warnings,
    /// A line when a session starts and one when it ends.
    Normal,
    /// `-v`: each step.
    Debug,
    /// `-vv`: everything.
    Trace,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Errors => LevelFilter::ERROR,
            Self::Warnings => LevelFilter::WARN,
            Self::Normal => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// Where the log goes, and in which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Lines for people, on stderr.
    #[default]
    Text,
    /// A JSON document on each line, on stderr.
    Json,
    /// The journal of systemd.
    Journald,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The form.
    pub form: Form,
    /// How much.
    pub level: Level,
    /// How much of single parts of Postern: the name of a folder of its source.
    pub parts: Vec<(String, Level)>,
    /// Whether text has colours.
    pub colour: bool,
}

/// Begins to log. Called once; a second call changes nothing. Where there is no journal, text goes to stderr instead.
pub fn init(settings: &Settings) {
    // Libraries are heard only when something is wrong with them: what they say below that may hold what they carry.
    let ours = settings.level.filter();
    let parts = settings.parts.iter().map(|(part, level)| (format!("postern::{part}"), level.filter()));
    let filter =
        Targets::new().with_target("postern", ours).with_targets(parts).with_default(ours.min(LevelFilter::WARN));
    let (layer, missing) = layer(settings);
    // An error means that a test or an embedding program has set one up already, which then stands.
    drop(tracing_subscriber::registry().with(layer).with(filter).try_init());
    if let Some(error) = missing {
        warn!("the journal of systemd cannot be reached, so that this goes to stderr: {error}");
    }
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

fn layer(settings: &Settings) -> (Lines, Option<io::Error>) {
    let text =
        || tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(settings.colour).with_target(false);
    match settings.form {
        Form::Text => (text().boxed(), None),
        Form::Json => (json(io::stderr), None),
        Form::Journald => match journal() {
            Ok(layer) => (layer, None),
            Err(error) => (text().boxed(), Some(error)),
        },
    }
}

/// One document for each event: its own fields at the top, those of the connection under `span`.
fn json<W>(writer: W) -> Lines
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(true)
        .with_writer(writer)
        .boxed()
}

#[cfg(target_os = "linux")]
fn journal() -> io::Result<Lines> {
    let layer = tracing_journald::layer()?;
    Ok(layer.with_syslog_identifier("postern".to_owned()).with_field_prefix(Some("POSTERN".to_owned())).boxed())
}

#[cfg(not(target_os = "linux"))]
fn journal() -> io::Result<Lines> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "there is none here"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, info_span};

    use super::*;

    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Said {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_line_of_json_is_a_document_with_the_fields_of_its_connection() {
        let said = Said::default();
        let writer = said.clone();
        let filter = Targets::new()
            .with_target("postern", LevelFilter::INFO)
            .with_target("postern::delivery", LevelFilter::DEBUG);
        let subscriber = tracing_subscriber::registry().with(json(move || writer.clone())).with(filter);
        tracing::subscriber::with_default(subscriber, || {
            let _span = info_span!("conn", conn.id = 7, client.addr = "192.0.2.1").entered();
            info!(mailbox.id = "alice@contoso.test", took_ms = 12, "logged in");
            debug!("not of this part");
            debug!(target: "postern::delivery::courier", "of that one");
        });
        let text = String::from_utf8(said.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!((&lines[0]["message"], &lines[0]["level"]), (&"logged in".into(), &"INFO".into()));
        assert_eq!((&lines[0]["mailbox.id"], &lines[0]["took_ms"]), (&"alice@contoso.test".into(), &12.into()));
        assert_eq!((&lines[0]["span"]["conn.id"], &lines[0]["span"]["client.addr"]), (&7.into(), &"192.0.2.1".into()));
        assert!(lines[0]["timestamp"].is_string());
        assert_eq!(lines[1]["message"], "of that one");
    }
}
