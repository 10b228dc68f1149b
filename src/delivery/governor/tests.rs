use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;

const LIMITS: Limits = Limits { at_once: 3, per_minute: 30, recipients_per_day: 100 };
const NEVER: Duration = Duration::ZERO;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn alice() -> Mailbox {
    "alice@contoso.test".parse().unwrap()
}

async fn room(governor: &Arc<Governor>, who: &str, patience: Duration) -> Result<Room, Waits> {
    governor.room(&alice(), LIMITS, Asks::Client(who), patience).await
}

/// A message that is answered at once.
async fn sends(governor: &Arc<Governor>, recipients: u64) {
    let mut room = room(governor, "a", NEVER).await.unwrap();
    for _ in 0..recipients {
        room.recipient().unwrap();
    }
    room.used();
}

#[tokio::test(start_paused = true)]
async fn the_fourth_at_once_waits_for_one_of_the_three() {
    let governor = Arc::new(Governor::new(Clock::system()));
    let mut three = Vec::new();
    for _ in 0..3 {
        three.push(room(&governor, "a", NEVER).await.unwrap());
    }
    let waits = room(&governor, "a", seconds(20)).await.unwrap_err();
    assert_eq!(waits, Waits { limit: Limit::AtOnce, wait: NEVER });
    let began = Instant::now();
    let (fourth, ()) = tokio::join!(room(&governor, "a", seconds(20)), async {
        sleep(seconds(7)).await;
        drop(three.pop());
    });
    assert!(fourth.is_ok());
    assert_eq!(began.elapsed(), seconds(7));
    assert!(governor.room(&"bob@contoso.test".parse().unwrap(), LIMITS, Asks::Courier, NEVER).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_message_counts_until_a_minute_after_its_answer() {
    let governor = Arc::new(Governor::new(Clock::system()));
    let mut first = room(&governor, "a", NEVER).await.unwrap();
    first.used();
    for _ in 0..29 {
        sends(&governor, 1).await;
    }
    sleep(seconds(50)).await;
    drop(first);
    sleep(seconds(10)).await;
    for _ in 0..29 {
        sends(&governor, 1).await;
    }
    let began = Instant::now();
    let waits = room(&governor, "a", seconds(49)).await.unwrap_err();
    assert_eq!(waits, Waits { limit: Limit::PerMinute, wait: seconds(50) });
    assert_eq!(began.elapsed(), NEVER, "it is certain, so nobody waits for it");
    assert!(room(&governor, "a", seconds(51)).await.is_ok());
    assert_eq!(began.elapsed(), seconds(50));
    // What never went to Exchange does not count.
    assert!(room(&governor, "a", NEVER).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn app_passwords_take_turns() {
    let governor = Arc::new(Governor::new(Clock::system()));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(room(&governor, "x", NEVER).await.unwrap());
    }
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = JoinSet::new();
    for who in ["crm", "crm", "crm", "crm", "script", "crm"] {
        let (governor, order) = (Arc::clone(&governor), Arc::clone(&order));
        waiting.spawn(async move {
            let room = room(&governor, who, seconds(60)).await.unwrap();
            order.lock().unwrap().push(who);
            sleep(seconds(1)).await;
            drop(room);
        });
        tokio::task::yield_now().await;
    }
    // One at a time, so that the order shows.
    drop(held.pop());
    while waiting.join_next().await.is_some() {}
    assert_eq!(*order.lock().unwrap(), ["crm", "script", "crm", "crm", "crm", "crm"]);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_the_line() {
    let governor = Arc::new(Governor::new(Clock::system()));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(room(&governor, "x", NEVER).await.unwrap());
    }
    let impatient = tokio::time::timeout(seconds(1), room(&governor, "a", seconds(60)));
    let late = async {
        sleep(seconds(3)).await;
        held.clear();
    };
    let (impatient, patient, ()) = tokio::join!(impatient, room(&governor, "b", seconds(60)), late);
    assert!(impatient.is_err() && patient.is_ok());
    assert_eq!(governor.counts()[&alice()].waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_recipients_of_a_day_slide() {
    let governor = Arc::new(Governor::new(Clock::system()));
    governor.count_earlier(&alice(), seconds(23 * 3600), 60);
    sends(&governor, 40).await;
    let waits = room(&governor, "a", seconds(20)).await.unwrap_err();
    assert_eq!(waits.limit, Limit::PerDay);
    sleep(seconds(3600) + TALLY_SPAN).await;
    let mut room = room(&governor, "a", NEVER).await.unwrap();
    for _ in 0..60 {
        room.recipient().unwrap();
    }
    assert_eq!(room.recipient().unwrap_err().limit, Limit::PerDay);
    room.recipient_refused();
    assert!(room.recipient().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_exchange_slows_down_is_left_alone_longer_each_time() {
    let governor = Arc::new(Governor::new(Clock::system()));
    for pause in [1, 2, 4, 8] {
        governor.slow_down(&alice(), None);
        let waits = room(&governor, "a", NEVER).await.unwrap_err();
        assert_eq!(waits, Waits { limit: Limit::Pause, wait: seconds(pause) });
        sleep(waits.wait).await;
    }
    governor.slow_down(&alice(), Some(seconds(299)));
    assert_eq!(room(&governor, "a", seconds(20)).await.unwrap_err().wait, seconds(299));
    sleep(seconds(299)).await;
    room(&governor, "a", NEVER).await.unwrap().taken();
    governor.slow_down(&alice(), None);
    assert_eq!(room(&governor, "a", NEVER).await.unwrap_err().wait, seconds(1), "as at the beginning");
}

#[tokio::test(start_paused = true)]
async fn clients_go_behind_what_waits_in_the_queue() {
    let governor = Arc::new(Governor::new(Clock::system()));
    governor.begin_backlog(&alice());
    assert_eq!(room(&governor, "a", seconds(20)).await.unwrap_err().limit, Limit::Backlog);
    assert!(governor.room(&alice(), LIMITS, Asks::Courier, NEVER).await.is_ok());
    assert!(governor.room(&alice(), LIMITS, Asks::Direct("a"), NEVER).await.is_ok(), "its message is not kept");
    let (flagged, flag) = governor.backlogs().remove(0);
    assert_eq!(flagged, alice());
    governor.begin_backlog(&alice());
    governor.end_backlog(&alice(), flag);
    assert_eq!(governor.backlogs().len(), 1, "another message came while the queue was looked at");
    governor.end_backlog(&alice(), flag + 1);
    assert!(room(&governor, "a", NEVER).await.is_ok());
    governor.tidy();
    assert!(governor.counts().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Whenever Exchange counts a message between its beginning and its answer, it never counts too many.
    #[test]
    fn exchange_never_counts_more_than_its_limits(
        messages in prop::collection::vec((0..200_000_u64, 1..4000_u64, 0.0..1.0_f64, 0..4_usize), 1..160),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let counted = runtime.block_on(async {
            let governor = Arc::new(Governor::new(Clock::system()));
            let began = Instant::now();
            let mut sending = JoinSet::new();
            for (comes_millis, takes_millis, share, who) in messages {
                let governor = Arc::clone(&governor);
                sending.spawn(async move {
                    sleep(Duration::from_millis(comes_millis)).await;
                    let who = who.to_string();
                    let mut room = room(&governor, &who, seconds(3600)).await.unwrap();
                    let (begins, takes) = (began.elapsed(), Duration::from_millis(takes_millis));
                    sleep(takes).await;
                    room.used();
                    (begins, begins + takes.mul_f64(share), begins + takes)
                });
            }
            sending.join_all().await
        });
        for (begins, at, _) in &counted {
            let in_a_minute = counted.iter().filter(|(_, other, _)| other <= at && *other + MINUTE > *at).count();
            prop_assert!(in_a_minute <= LIMITS.per_minute, "{in_a_minute} in a minute");
            let at_once = counted.iter().filter(|(from, _, to)| from <= begins && to > begins).count();
            prop_assert!(at_once <= LIMITS.at_once, "{at_once} at once");
        }
    }
}
