//! What waits, and how attempts at it end.

use super::*;

fn queued(id: &str, second: i64) -> QueuedMessage {
    QueuedMessage {
        id: id.to_owned(),
        mailbox: address("alice@contoso.test"),
        password_id: "k7m2qx".to_owned(),
        mail: "FROM:<alice@contoso.test> BODY=8BITMIME".to_owned(),
        size_octets: 1234,
        message_id: Some("one@contoso.test".to_owned()),
        is_report: false,
        accepted_at: at(second),
        state: QueueState::Waiting,
        next_at: at(second + 60),
        attempts: 0,
        doubts: Vec::new(),
        copies: 0,
        resent: 0,
        begun: 0,
        warned_at: None,
        held: chrono::Duration::zero(),
        held_since: None,
        obstacle: Some(Obstacle { code: "exchange-busy".to_owned(), reason: "432".to_owned(), remedy: None }),
        recipients: vec![
            QueuedRecipient { rcpt: "TO:<b@x.test>".to_owned(), state: RecipientState::Waiting, reply: None },
            QueuedRecipient { rcpt: "TO:<c@x.test>".to_owned(), state: RecipientState::Waiting, reply: None },
        ],
    }
}

/// The end of the attempt of this number.
fn end(number: u32, state: QueueState, next_at: DateTime<Utc>) -> AttemptEnd {
    AttemptEnd {
        of: Ending::Attempt(number),
        recipients: Vec::new(),
        state,
        next_at,
        is_taken: false,
        certainty: Certainty::AsBefore,
        obstacle: None,
    }
}

#[tokio::test]
async fn what_waits_comes_back_as_it_was_in_the_order_in_which_it_came() {
    let (store, folder) = store().await;
    for message in [queued("second", 2), queued("first", 1)] {
        store.enqueue(&message).await.unwrap();
    }
    assert!(store.enqueue(&queued("first", 1)).await.is_err(), "an ID is one message's");
    store.close().await;
    let store = SqliteStore::open(folder.path()).await.unwrap();
    assert_eq!(store.queued().await.unwrap(), [queued("first", 1), queued("second", 2)]);
    assert_eq!(store.queued_message("second").await.unwrap(), Some(queued("second", 2)));
    assert_eq!(store.queued_message("third").await.unwrap(), None);
    let alice = address("alice@contoso.test");
    assert_eq!(store.due(at(60)).await.unwrap(), []);
    assert_eq!(store.due(at(61)).await.unwrap(), std::slice::from_ref(&alice));
    assert_eq!(store.next_due(&alice, at(61)).await.unwrap().unwrap().id, "first");
    store.postpone(&alice, at(200)).await.unwrap();
    assert_eq!(store.due(at(199)).await.unwrap(), []);
    assert_eq!(store.queued_ids().await.unwrap(), ["first", "second"].map(str::to_owned).into());
    assert_eq!(store.wish(QueuedOf::All, QueueWish::Retry, at(150)).await.unwrap(), 2);
    assert_eq!(store.due(at(150)).await.unwrap(), [alice]);
    assert!(store.dequeue("first", None).await.unwrap());
    assert!(!store.dequeue("first", None).await.unwrap());
    assert_eq!(store.queued().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_attempt_is_one_at_a_time_and_what_became_of_it_is_kept_for_each_recipient() {
    let (store, _folder) = store().await;
    store.enqueue(&queued("one", 0)).await.unwrap();
    let alice = address("alice@contoso.test");
    assert!(store.begin_attempt("one", at(60)).await.unwrap());
    assert!(!store.begin_attempt("one", at(60)).await.unwrap(), "it is on its way");
    assert_eq!(store.next_due(&alice, at(1000)).await.unwrap(), None);
    let delivered = AttemptEnd {
        recipients: vec![(1, RecipientState::Delivered, Some("250 2.0.0 OK".to_owned()))],
        is_taken: true,
        ..end(1, QueueState::Waiting, at(200))
    };
    assert!(store.end_attempt("one", &delivered, at(61)).await.unwrap());
    assert!(!store.end_attempt("one", &AttemptEnd { next_at: at(300), ..delivered.clone() }, at(61)).await.unwrap());
    let message = store.queued_message("one").await.unwrap().unwrap();
    assert_eq!((message.attempts, message.next_at, message.obstacle), (1, at(200), None), "it ends once");
    assert_eq!(message.copies, 1);
    assert_eq!(message.recipients[1].reply.as_deref(), Some("250 2.0.0 OK"));
    assert_eq!(message.recipients[0].state, RecipientState::Waiting);

    assert!(!store.begin_attempt("gone", at(201)).await.unwrap());
}

#[tokio::test]
async fn what_a_killed_process_left_is_unknown_only_where_it_was_about_to_complete_the_message() {
    let (store, _folder) = store().await;
    store.enqueue(&queued("one", 0)).await.unwrap();
    let one = async || store.queued_message("one").await.unwrap().unwrap();
    let in_doubt = |message: &QueuedMessage| {
        message.doubts.iter().map(|one| (one.attempt, one.places.clone())).collect::<Vec<_>>()
    };
    assert!(!store.note_final("one", &[0], false).await.unwrap(), "nothing is under way");
    assert!(store.begin_attempt("one", at(60)).await.unwrap());
    assert_eq!(store.settle_attempts(at(61), chrono::Duration::minutes(2)).await.unwrap(), 0);
    assert_eq!((one().await.is_unknown(), one().await.unknown_at()), (false, None), "it had not come so far");

    assert!(store.begin_attempt("one", at(70)).await.unwrap());
    assert!(store.note_final("one", &[1], false).await.unwrap());
    assert_eq!(store.settle_attempts(at(71), chrono::Duration::minutes(2)).await.unwrap(), 1);
    let left = one().await;
    assert_eq!((left.is_unknown(), left.unknown_at(), in_doubt(&left)), (true, Some(at(71)), vec![(2, vec![1])]));
    // What ends an attempt that was taken back changes nothing any more.
    let known = AttemptEnd { certainty: Certainty::Answered { resent: 0 }, ..end(2, QueueState::Waiting, at(300)) };
    assert!(!store.end_attempt("one", &known, at(72)).await.unwrap());

    // What did not come to its end, killed or not, leaves everything as it was.
    assert!(store.begin_attempt("one", at(80)).await.unwrap());
    assert!(store.end_attempt("one", &end(3, QueueState::Waiting, at(82)), at(81)).await.unwrap());
    assert!(store.begin_attempt("one", at(82)).await.unwrap());
    assert_eq!(store.settle_attempts(at(83), chrono::Duration::minutes(2)).await.unwrap(), 0);
    let left = one().await;
    assert_eq!((left.is_unknown(), left.unknown_at(), in_doubt(&left)), (true, Some(at(71)), vec![(2, vec![1])]));

    // It is sent again although it may have arrived: a copy of the first time says nothing of the second.
    assert!(store.begin_attempt("one", at(84)).await.unwrap());
    assert!(store.note_final("one", &[0, 1], true).await.unwrap());
    let again = one().await;
    assert_eq!((again.resent, in_doubt(&again)), (1, vec![(2, vec![1]), (5, vec![0, 1])]));
    // One way has certainly not taken it, and another is tried.
    assert!(store.take_final_back("one", 0).await.unwrap());
    assert_eq!(store.settle_attempts(at(85), chrono::Duration::minutes(2)).await.unwrap(), 0);
    let left = one().await;
    assert_eq!((left.resent, in_doubt(&left)), (0, vec![(2, vec![1])]));
    assert!(store.begin_attempt("one", at(86)).await.unwrap());
    assert!(store.note_final("one", &[0], false).await.unwrap());
    let unknown = AttemptEnd { certainty: Certainty::Unknown(at(87), vec![0]), ..end(6, QueueState::Waiting, at(90)) };
    assert!(store.end_attempt("one", &unknown, at(87)).await.unwrap());
    assert_eq!((one().await.is_unknown(), one().await.unknown_at()), (true, Some(at(87))));
    assert!(store.begin_attempt("one", at(88)).await.unwrap());
    let known = AttemptEnd { certainty: Certainty::Answered { resent: 0 }, ..end(7, QueueState::Waiting, at(90)) };
    assert!(store.end_attempt("one", &known, at(89)).await.unwrap());
    assert_eq!(in_doubt(&one().await), [(2, vec![1]), (6, vec![0])], "an answer is one to its own attempt");
    let found = AttemptEnd {
        of: Ending::Look,
        recipients: vec![(0, RecipientState::Delivered, None)],
        certainty: Certainty::Found(vec![6]),
        ..end(0, QueueState::Waiting, at(90))
    };
    assert!(store.end_attempt("one", &found, at(89)).await.unwrap());
    assert_eq!(in_doubt(&one().await), [(2, vec![1])]);
    store.note_absent("one").await.unwrap();
    assert!(!one().await.is_unknown());

    // What is held or dropped meanwhile is not completed.
    assert!(store.begin_attempt("one", at(90)).await.unwrap());
    store.wish(QueuedOf::Id("one"), QueueWish::Hold, at(91)).await.unwrap();
    assert!(!store.note_final("one", &[0, 1], false).await.unwrap());
    assert!(!store.note_told("one", Told::GivenUp, None).await.unwrap(), "nor given up while it is on its way");
    store.end_attempt("one", &end(8, QueueState::Waiting, at(95)), at(92)).await.unwrap();
    store.wish(QueuedOf::Id("one"), QueueWish::Release, at(93)).await.unwrap();
    assert!(store.begin_attempt("one", at(95)).await.unwrap());
    store.dequeue("one", None).await.unwrap();
    assert!(!store.note_final("one", &[0, 1], false).await.unwrap());
}

#[tokio::test]
async fn what_is_dropped_and_what_the_journal_says_of_it_go_together() {
    let (store, _folder) = store().await;
    store.enqueue(&queued("one", 0)).await.unwrap();
    let entry = JournalEntry {
        at: at(1),
        mailbox: address("alice@contoso.test"),
        password_id: "k7m2qx".to_owned(),
        queue_id: Some("one".to_owned()),
        sender: "alice@contoso.test".to_owned(),
        recipients: vec!["b@x.test".to_owned()],
        size_octets: 1,
        message_id: None,
        route: None,
        outcome: JournalOutcome::Dropped,
        reply: None,
    };
    assert!(!store.dequeue("other", Some(&entry)).await.unwrap());
    assert!(store.journal(&JournalFilter::default(), 9).await.unwrap().is_empty());
    assert!(store.dequeue("one", Some(&entry)).await.unwrap());
    assert_eq!(store.journal(&JournalFilter::default(), 9).await.unwrap(), [entry]);
}

#[tokio::test]
async fn what_may_have_arrived_can_be_released_whatever_is_known_of_it() {
    let (store, _folder) = store().await;
    let doubts = vec![
        Doubt { attempt: 0, at: Some(at(1)), places: vec![0, 1] },
        Doubt { attempt: 2, at: Some(at(1)), places: vec![1] },
    ];
    let unknown = QueuedMessage { doubts, obstacle: None, ..queued("one", 0) };
    store.enqueue(&unknown).await.unwrap();
    for (wish, copies) in [(QueueWish::Hold, 0), (QueueWish::Release, 0)] {
        assert_eq!(store.wish(QueuedOf::Id("one"), wish, at(2)).await.unwrap(), 1);
        assert_eq!(store.queued_message("one").await.unwrap().unwrap().copies, copies);
    }
    assert!(store.queued_message("one").await.unwrap().unwrap().is_unknown(), "it is looked for");
    let code = "outcome-unknown".to_owned();
    let obstacle = Some(Obstacle { code, reason: "lost".to_owned(), remedy: None });
    let unknown = QueuedMessage { id: "two".to_owned(), state: QueueState::Held, obstacle, ..unknown };
    store.enqueue(&unknown).await.unwrap();
    store.wish(QueuedOf::Id("two"), QueueWish::Release, at(3)).await.unwrap();
    let released = store.queued_message("two").await.unwrap().unwrap();
    assert_eq!((released.is_unknown(), released.copies), (false, 2), "somebody knows");
}

#[tokio::test]
async fn messages_of_one_moment_keep_their_order_and_none_overtakes_what_waits_for_limits() {
    let (store, _folder) = store().await;
    let alice = address("alice@contoso.test");
    let ids = ["b", "c", "a"];
    for id in ids {
        store.enqueue(&QueuedMessage { next_at: at(0), ..queued(id, 0) }).await.unwrap();
    }
    assert_eq!(store.queued().await.unwrap().iter().map(|one| one.id.clone()).collect::<Vec<_>>(), ids);
    assert_eq!(store.next_due(&alice, at(0)).await.unwrap().unwrap().id, "b");

    let limits = || Some(Obstacle { code: LIMITS_CODE.to_owned(), reason: "30 a minute".to_owned(), remedy: None });
    let waiting = |id: &str, next_at| QueuedMessage { obstacle: limits(), next_at, ..queued(id, 1) };
    store.enqueue(&waiting("early", at(1))).await.unwrap();
    store.postpone(&alice, at(40)).await.unwrap();
    store.enqueue(&waiting("late", at(2))).await.unwrap();
    assert_eq!(store.next_due(&alice, at(39)).await.unwrap(), None, "the newest does not go first");
    let other = QueuedMessage { mailbox: address("bob@contoso.test"), ..waiting("other", at(2)) };
    store.enqueue(&other).await.unwrap();
    assert_eq!(store.due(at(2)).await.unwrap(), [address("bob@contoso.test")]);
}

#[tokio::test]
async fn what_a_session_hands_in_after_its_password_was_revoked_with_its_mail_held_is_held() {
    let (store, _folder) = store().await;
    store.add_mailbox(&mailbox("alice@contoso.test", &[])).await.unwrap();
    for (id, number) in [("k7m2qx", 1), ("other", 2)] {
        store.add_app_password(&password(id, "alice@contoso.test", number)).await.unwrap();
    }
    store.revoke_app_password("k7m2qx", at(5)).await.unwrap();
    store.enqueue(&queued("without", 6)).await.unwrap();
    assert_eq!(store.wish(QueuedOf::Password("k7m2qx"), QueueWish::Hold, at(7)).await.unwrap(), 1);
    store.enqueue(&queued("after", 8)).await.unwrap();
    store.enqueue(&QueuedMessage { password_id: "other".to_owned(), ..queued("others", 8) }).await.unwrap();
    let states = async || {
        let kept = store.queued().await.unwrap();
        kept.into_iter().map(|one| (one.id, one.state)).collect::<Vec<_>>()
    };
    let (held, waiting) = (QueueState::Held, QueueState::Waiting);
    let named = |id: &str, state| (id.to_owned(), state);
    assert_eq!(states().await, [named("without", held), named("after", held), named("others", waiting)]);
    for id in ["without", "after"] {
        let obstacle = store.queued_message(id).await.unwrap().unwrap().obstacle.unwrap();
        assert_eq!(
            obstacle.reason, "what was submitted with the app password k7m2qx is held",
            "and not why it waited before"
        );
        assert!(obstacle.remedy.unwrap().contains(&format!("postern queue release {id}")));
    }
    store.wish(QueuedOf::Id("without"), QueueWish::Release, at(8)).await.unwrap();
    assert_eq!(store.queued_message("without").await.unwrap().unwrap().obstacle, None);
    store.wish(QueuedOf::Id("without"), QueueWish::Hold, at(8)).await.unwrap();
    assert_eq!(store.queued_message("after").await.unwrap().unwrap().held_since, Some(at(8)));
    // The same where all passwords of a mailbox were revoked with it.
    store.remove_mailbox(&address("alice@contoso.test"), at(9)).await.unwrap();
    store.wish(QueuedOf::Mailbox(&address("alice@contoso.test")), QueueWish::Hold, at(9)).await.unwrap();
    store.enqueue(&QueuedMessage { password_id: "other".to_owned(), ..queued("last", 10) }).await.unwrap();
    assert_eq!(states().await.last().unwrap(), &named("last", held));
}

#[tokio::test]
async fn time_that_it_is_held_does_not_count_and_the_administrators_word_outlasts_an_attempt() {
    let (store, _folder) = store().await;
    store.enqueue(&queued("one", 0)).await.unwrap();
    let one = async || store.queued_message("one").await.unwrap().unwrap();
    let seconds = chrono::Duration::seconds;
    let id = QueuedOf::Id("one");
    // Held for the set-up from 10 to 40, and by the administrator from 100 to 150.
    assert!(store.begin_attempt("one", at(10)).await.unwrap());
    store.end_attempt("one", &end(1, QueueState::HeldForSetup, at(20)), at(10)).await.unwrap();
    assert_eq!((one().await.state, one().await.age(at(30))), (QueueState::HeldForSetup, seconds(10)));
    assert!(store.begin_attempt("one", at(20)).await.unwrap());
    store.end_attempt("one", &end(2, QueueState::HeldForSetup, at(40)), at(20)).await.unwrap();
    assert!(store.begin_attempt("one", at(40)).await.unwrap());
    store.end_attempt("one", &end(3, QueueState::Waiting, at(90)), at(40)).await.unwrap();
    assert_eq!((one().await.state, one().await.age(at(60))), (QueueState::Waiting, seconds(30)));
    assert_eq!(one().await.attempts, 1, "those for the set-up make no later pause longer");
    assert!(store.begin_attempt("one", at(90)).await.unwrap());
    assert_eq!(store.wish(id, QueueWish::Hold, at(100)).await.unwrap(), 1);
    store.end_attempt("one", &end(2, QueueState::Waiting, at(300)), at(110)).await.unwrap();
    assert_eq!(one().await.state, QueueState::Held, "it was held while it was on its way");
    assert!(!store.begin_attempt("one", at(400)).await.unwrap());
    assert_eq!(store.wish(id, QueueWish::Retry, at(120)).await.unwrap(), 1);
    assert_eq!(one().await.next_at, at(300));
    assert_eq!(
        store.wish(QueuedOf::Mailbox(&address("alice@contoso.test")), QueueWish::Release, at(150)).await.unwrap(),
        1
    );
    assert_eq!((one().await.state, one().await.next_at), (QueueState::Waiting, at(150)));
    assert_eq!(one().await.age(at(200)), seconds(120));
    assert_eq!(store.wish(QueuedOf::Password("k7m2qx"), QueueWish::Hold, at(160)).await.unwrap(), 1);
    assert_eq!(store.wish(QueuedOf::Password("other"), QueueWish::Hold, at(160)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_nothing_waiting_and_makes_nothing_older() {
    let (store, _folder) = store().await;
    let hours = chrono::Duration::hours;
    store.enqueue(&QueuedMessage { next_at: at(0) + hours(1), ..queued("soon", 0) }).await.unwrap();
    store.enqueue(&QueuedMessage { next_at: at(0) + hours(3), ..queued("far", 0) }).await.unwrap();
    let unknown = QueuedMessage {
        doubts: vec![Doubt { attempt: 0, at: Some(at(500)), places: vec![0] }],
        held_since: Some(at(500)),
        ..queued("unknown", 0)
    };
    store.enqueue(&unknown).await.unwrap();
    assert_eq!(store.heed_clock(at(10), hours(2)).await.unwrap(), 2);
    assert_eq!(store.heed_clock(at(10), hours(2)).await.unwrap(), 0);
    let one = async |id: &str| store.queued_message(id).await.unwrap().unwrap();
    assert_eq!((one("soon").await.next_at, one("far").await.next_at), (at(0) + hours(1), at(10)));
    assert_eq!(one("unknown").await.unknown_at(), Some(at(10)));
    assert_eq!(one("unknown").await.age(at(10)), chrono::Duration::seconds(10));
}

#[tokio::test]
async fn what_the_administrator_holds_is_not_given_up_and_nobody_is_told_that_it_is() {
    let (store, _folder) = store().await;
    store.enqueue(&queued("one", 0)).await.unwrap();
    store.wish(QueuedOf::Id("one"), QueueWish::Hold, at(1)).await.unwrap();
    assert!(!store.note_told("one", Told::GivenUp, Some(&queued("report", 2))).await.unwrap());
    assert_eq!(store.queued_ids().await.unwrap(), ["one".to_owned()].into());
    store.wish(QueuedOf::Id("one"), QueueWish::Release, at(3)).await.unwrap();
    assert!(store.note_told("one", Told::GivenUp, Some(&queued("report", 4))).await.unwrap());
    assert_eq!(store.queued_ids().await.unwrap(), ["report".to_owned()].into());
    assert!(!store.note_told("one", Told::Failed, Some(&queued("other", 5))).await.unwrap(), "it is gone");
}

#[tokio::test]
async fn attempts_start_anew_behind_a_set_up_that_was_mended_and_their_numbers_do_not() {
    let (store, _folder) = store().await;
    store.enqueue(&queued("one", 0)).await.unwrap();
    let one = async || store.queued_message("one").await.unwrap().unwrap();
    for number in 1..=3 {
        let held = AttemptEnd { state: QueueState::HeldForSetup, ..end(number, QueueState::Waiting, at(66)) };
        assert!(store.begin_attempt("one", at(65)).await.unwrap());
        assert!(store.end_attempt("one", &held, at(66)).await.unwrap());
    }
    assert!(store.begin_attempt("one", at(66)).await.unwrap());
    assert!(store.end_attempt("one", &end(4, QueueState::Waiting, at(67)), at(67)).await.unwrap());
    assert_eq!((one().await.attempts, one().await.begun), (1, 4));
    assert!(store.begin_attempt("one", at(68)).await.unwrap());
    assert!(store.note_final("one", &[0], false).await.unwrap());
    assert_eq!(one().await.doubts, [Doubt { attempt: 5, at: None, places: vec![0] }]);
}

#[tokio::test]
async fn what_is_released_while_an_attempt_is_under_way_may_have_arrived_by_that_one() {
    let (store, _folder) = store().await;
    let obstacle = Obstacle { code: "outcome-unknown".to_owned(), reason: "lost".to_owned(), remedy: None };
    let message = QueuedMessage { obstacle: Some(obstacle), resent: 3, copies: 3, ..queued("one", 0) };
    store.enqueue(&message).await.unwrap();
    let one = async || store.queued_message("one").await.unwrap().unwrap();
    let wish = async |wish| assert_eq!(store.wish(QueuedOf::Id("one"), wish, at(80)).await.unwrap(), 1);
    assert!(store.begin_attempt("one", at(60)).await.unwrap());
    assert!(store.note_final("one", &[0], true).await.unwrap());
    wish(QueueWish::Hold).await;
    wish(QueueWish::Release).await;
    assert_eq!((one().await.is_unknown(), one().await.copies, one().await.resent), (true, 3, 4), "it is on its way");
    assert_eq!(store.settle_attempts(at(81), chrono::Duration::minutes(2)).await.unwrap(), 1);
    wish(QueueWish::Hold).await;
    wish(QueueWish::Release).await;
    let released = one().await;
    assert_eq!((released.is_unknown(), released.copies, released.resent), (false, 4, 0), "somebody knows");
    assert_eq!(released.obstacle, None);
    wish(QueueWish::Release).await;
    assert_eq!(one().await.copies, 4, "that was said");
}

#[tokio::test]
async fn a_new_process_waits_for_no_answer_of_an_earlier_one() {
    let (store, _folder) = store().await;
    let doubts = vec![Doubt { attempt: 0, at: Some(at(0)), places: vec![0] }];
    let unknown = QueuedMessage { doubts, next_at: at(660), ..queued("one", 0) };
    store.enqueue(&unknown).await.unwrap();
    store.enqueue(&QueuedMessage { next_at: at(660), ..queued("two", 0) }).await.unwrap();
    // Its transaction was open until the process ended, as far as is known, and Exchange may have taken it at the last moment.
    assert_eq!(store.settle_attempts(at(300), chrono::Duration::minutes(2)).await.unwrap(), 0);
    let left = store.queued_message("one").await.unwrap().unwrap();
    assert_eq!((left.unknown_at(), left.next_at), (Some(at(300)), at(420)));
    assert_eq!(store.queued_message("two").await.unwrap().unwrap().next_at, at(660));
    store.note_unanswered("one", at(310), chrono::Duration::minutes(2)).await.unwrap();
    store.note_unanswered("two", at(310), chrono::Duration::minutes(2)).await.unwrap();
    assert_eq!(store.queued_message("one").await.unwrap().unwrap().unknown_at(), Some(at(310)));
    assert_eq!(store.queued_message("two").await.unwrap().unwrap().unknown_at(), None, "that was never sent");
}

#[tokio::test]
async fn an_answer_to_one_attempt_says_nothing_of_the_one_before() {
    let (store, _folder) = store().await;
    let mut message = queued("one", 0);
    message.recipients.push(message.recipients[0].clone());
    store.enqueue(&message).await.unwrap();
    let one = async || store.queued_message("one").await.unwrap().unwrap();
    assert!(store.begin_attempt("one", at(60)).await.unwrap());
    assert!(store.note_final("one", &[0, 2], false).await.unwrap());
    let lost = Certainty::Unknown(at(61), vec![0, 2]);
    let lost = AttemptEnd { certainty: lost, ..end(1, QueueState::Waiting, at(62)) };
    assert!(store.end_attempt("one", &lost, at(61)).await.unwrap());
    let doubt = Doubt { attempt: 1, at: Some(at(61)), places: vec![0, 2] };
    assert_eq!(one().await.doubts, std::slice::from_ref(&doubt));

    // Sent again, and one way has certainly not taken it.
    assert!(store.begin_attempt("one", at(62)).await.unwrap());
    assert!(store.note_final("one", &[0, 1, 2], true).await.unwrap());
    assert_eq!(one().await.doubts.len(), 2);
    assert!(store.take_final_back("one", 0).await.unwrap());
    assert_eq!((one().await.doubts, one().await.resent), (vec![doubt.clone()], 0));
    // By the other way Exchange takes it for one of them.
    assert!(store.note_final("one", &[0, 1, 2], true).await.unwrap());
    let some = AttemptEnd {
        recipients: vec![(0, RecipientState::Delivered, None), (1, RecipientState::Waiting, None)],
        is_taken: true,
        certainty: Certainty::Answered { resent: 0 },
        ..end(2, QueueState::Waiting, at(70))
    };
    assert!(store.end_attempt("one", &some, at(65)).await.unwrap());
    let left = one().await;
    assert_eq!((&left.doubts, left.copies, left.resent), (&vec![doubt.clone()], 1, 0));
    assert_eq!(left.in_doubt(&doubt).collect::<Vec<_>>(), [2]);

    // A further one is lost as well, and each keeps those who were in it.
    assert!(store.begin_attempt("one", at(70)).await.unwrap());
    assert!(store.note_final("one", &[1], true).await.unwrap());
    let lost = Certainty::Unknown(at(71), vec![1]);
    let lost = AttemptEnd { certainty: lost, ..end(3, QueueState::Waiting, at(72)) };
    assert!(store.end_attempt("one", &lost, at(71)).await.unwrap());
    let left = one().await;
    assert_eq!(left.doubts, [doubt.clone(), Doubt { attempt: 3, at: Some(at(71)), places: vec![1] }]);
    assert_eq!((left.unknown_at(), left.resent), (Some(at(71)), 1));
    // Whoever is refused for good is in no doubt any more.
    let refused = AttemptEnd {
        recipients: vec![(1, RecipientState::Failed, None)],
        certainty: Certainty::Answered { resent: 1 },
        ..end(4, QueueState::Waiting, at(80))
    };
    assert!(store.begin_attempt("one", at(72)).await.unwrap());
    assert!(store.end_attempt("one", &refused, at(73)).await.unwrap());
    let left = one().await;
    assert_eq!(left.open_doubts().collect::<Vec<_>>(), [&doubt]);
    assert_eq!(left.unknown_at(), Some(at(61)));
}

#[tokio::test]
async fn what_waits_is_counted_and_its_beginning_shown_without_reading_all_of_it() {
    let (store, _folder) = store().await;
    assert_eq!(store.queue_tally().await.unwrap(), QueueTally::default());
    let unknown = || Some(Obstacle { code: "outcome-unknown".to_owned(), reason: "lost".to_owned(), remedy: None });
    let base = |id: &str, second, state| QueuedMessage { state, ..queued(id, second) };
    for message in [
        base("waiting", 5, QueueState::Waiting),
        base("setup", 4, QueueState::HeldForSetup),
        base("held", 3, QueueState::Held),
        QueuedMessage { is_report: true, ..base("report", 2, QueueState::Held) },
        QueuedMessage { obstacle: unknown(), ..base("lost", 1, QueueState::Held) },
        // That may be found yet.
        QueuedMessage { obstacle: unknown(), ..base("looked-for", 6, QueueState::Waiting) },
    ] {
        store.enqueue(&message).await.unwrap();
    }
    let tally = store.queue_tally().await.unwrap();
    let expected =
        QueueTally { messages: 6, for_setup: 1, held: 3, stuck_reports: 1, unknown: 1, oldest_at: Some(at(1)) };
    assert_eq!(tally, expected);
    let all = store.queued().await.unwrap();
    for most in [0, 1, 3, 6, 100] {
        let first: Vec<QueuedMessage> = all.iter().take(most as usize).cloned().collect();
        assert_eq!(store.queued_first(most).await.unwrap(), first, "{most}");
    }
}
