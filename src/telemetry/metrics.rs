//! Figures for Prometheus. Where nobody has asked for them each costs no more than a look at whether somebody has.
//!
//! Labels are words of ours and the names of tenants: never an address, a mailbox or an app password, of which there is no end.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::base::{Protocol, TenantName};
use crate::store::{JournalOutcome, QueueState, Route};

const LOGINS: &str = "postern_logins_total";
const SESSIONS: &str = "postern_sessions";
const OPENED: &str = "postern_upstream_open_seconds";
const UPSTREAM: &str = "postern_upstream_opens_total";
const MESSAGES: &str = "postern_messages_total";
const TOKENS: &str = "postern_token_requests_total";
const TOKEN_TIME: &str = "postern_token_obtained_timestamp_seconds";
const QUEUE: &str = "postern_queue_messages";
const QUEUE_AGE: &str = "postern_queue_oldest_seconds";
const WAITS: &str = "postern_limit_waits_total";
const EXPIRY: &str = "postern_expiry_days";
const ENDING: &str = "postern_app_passwords_ending";
const READY: &str = "postern_ready";

/// How long opening a mailbox takes, in seconds: Exchange needs one to five.
const OPEN_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What gives the figures out.
#[derive(Clone)]
pub struct Figures(PrometheusHandle);

impl Figures {
    /// Begins to count, for the whole process. A second call gives the same.
    pub fn begin() -> Self {
        static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
        let handle = HANDLE.get_or_init(|| {
            let builder = PrometheusBuilder::new();
            // The list is not empty, which is all that can be wrong with it.
            let builder = match builder.set_buckets_for_metric(Matcher::Full(OPENED.to_owned()), OPEN_SECONDS) {
                Ok(builder) => builder,
                Err(_) => PrometheusBuilder::new(),
            };
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            // Another one that stands already is a test's or an embedding program's.
            drop(metrics::set_global_recorder(recorder));
            handle
        });
        describe();
        Self(handle.clone())
    }

    /// All of them, in Prometheus' text format.
    pub fn text(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

fn describe() {
    describe_counter!(LOGINS, "Logins of mail programs, by protocol and outcome");
    describe_gauge!(SESSIONS, "Sessions that are logged in, by protocol");
    describe_histogram!(
        OPENED,
        Unit::Seconds,
        "How long it took to open a mailbox or a submission session at Exchange"
    );
    describe_counter!(UPSTREAM, "Mailboxes and submission sessions opened at Exchange, by protocol and outcome");
    describe_counter!(MESSAGES, "What became of messages, by outcome and way");
    describe_counter!(TOKENS, "Access tokens asked for at the token service, by tenant and outcome");
    describe_gauge!(
        TOKEN_TIME,
        Unit::Seconds,
        "When an access token of the tenant was had last, in seconds since 1970"
    );
    describe_gauge!(QUEUE, "Messages in the queue, by what they wait for");
    describe_gauge!(QUEUE_AGE, Unit::Seconds, "How long the oldest message of the queue has been waiting");
    describe_counter!(WAITS, "Messages that had to wait for Exchange's limits of their mailbox, by tenant");
    describe_gauge!(EXPIRY, "Days until a secret or certificate of a tenant ends");
    describe_gauge!(ENDING, "App passwords in force that end within so many days");
    describe_gauge!(READY, "Whether logins can be checked: 1 or 0");
}

/// A login, with a word for what came of it.
pub fn login(protocol: Protocol, outcome: &'static str) {
    counter!(LOGINS, "protocol" => protocol.name(), "outcome" => outcome).increment(1);
}

/// A mailbox, or a submission session, was opened at Exchange, or could not be: a word of ours for why.
pub fn opened(protocol: Protocol, outcome: &'static str, took: Duration) {
    counter!(UPSTREAM, "protocol" => protocol.name(), "outcome" => outcome).increment(1);
    histogram!(OPENED, "protocol" => protocol.name()).record(took.as_secs_f64());
}

/// What became of a message for some recipients.
pub fn message(outcome: JournalOutcome, route: Option<Route>) {
    counter!(MESSAGES, "outcome" => outcome.name(), "route" => route.map_or("none", Route::name)).increment(1);
}

/// An access token was asked for; a word of ours for why it was not had.
pub fn token(tenant: &TenantName, outcome: &'static str, now_seconds: i64) {
    counter!(TOKENS, "tenant" => tenant.to_string(), "outcome" => outcome).increment(1);
    if outcome == "ok" {
        // Seconds of this century are whole in a float.
        gauge!(TOKEN_TIME, "tenant" => tenant.to_string()).set(now_seconds as f64);
    }
}

/// A message has to wait for Exchange's limits.
pub fn waits(tenant: &TenantName) {
    counter!(WAITS, "tenant" => tenant.to_string()).increment(1);
}

/// Sessions that are logged in.
pub fn sessions(protocol: Protocol, count: usize) {
    gauge!(SESSIONS, "protocol" => protocol.name()).set(count as f64);
}

/// What is in the queue, and how long the oldest has been waiting.
pub fn queue(depth: &[(QueueState, u64)], oldest: Duration) {
    for state in QueueState::ALL {
        let count = depth.iter().find(|(of, _)| *of == state).map_or(0, |(_, count)| *count);
        gauge!(QUEUE, "state" => state.name()).set(count as f64);
    }
    gauge!(QUEUE_AGE).set(oldest.as_secs_f64());
}

/// Days until something of a tenant ends.
pub fn expiry(tenant: &TenantName, what: &'static str, days: i64) {
    gauge!(EXPIRY, "tenant" => tenant.to_string(), "what" => what).set(days as f64);
}

/// App passwords that end within so many days.
pub fn ending(days: &'static str, count: usize) {
    gauge!(ENDING, "days" => days).set(count as f64);
}

/// Whether logins can be checked.
pub fn ready(is: bool) {
    gauge!(READY).set(if is { 1.0 } else { 0.0 });
}
