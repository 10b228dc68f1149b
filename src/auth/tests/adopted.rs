//! Secrets that devices brought along, against strangers who guess.

use super::*;

const SECRET: &str = "Copy-Room 7!";

async fn adopted(change: impl FnOnce(&mut AppPasswordRecord)) -> Gate {
    let mut gate = gate(|record| {
        record.slow_hash = Some(pepper().slow_hasher().hash(SECRET.as_bytes()).unwrap());
        record.verifier = pepper().verifier(b"nobody has this one");
        change(record);
    })
    .await;
    gate.auth.settings.first_penalty = Duration::from_millis(1);
    gate.auth.settings.longest_penalty = Duration::from_millis(1);
    gate
}

async fn told(gate: &Gate, login: &str, password: &str, address: &str) -> Result<(), (Answer, &'static str)> {
    let origin = from(address, Protocol::Smtp);
    let verdict = gate.auth.verify(claim(login, password), origin).await;
    let verdict = verdict.and_then(|login| gate.auth.allow(login, origin));
    verdict.map(drop).map_err(|error| (error.answer(Reference::fresh()), error.code()))
}

const WRONG: Result<(), (Answer, &str)> = Err((Answer::WrongPassword, "login-refused"));
const TOO_MANY: Result<(), (Answer, &str)> = Err((Answer::TooManyFailures, "too-many-failures"));

#[tokio::test]
async fn the_secret_of_a_device_counts_to_the_letter_for_its_own_mailbox() {
    let gate = adopted(|_| {}).await;
    for (login, password, expected) in [
        (ALICE, SECRET, Ok(())),
        ("AL", SECRET, Ok(())),
        (ALICE, "copy-room 7!", WRONG),
        (ALICE, "CopyRoom7!", WRONG),
        (ALICE, "", WRONG),
        (ALICE, "nobody has this on", WRONG),
        ("bob@contoso.test", SECRET, WRONG),
        ("nobody@contoso.test", SECRET, WRONG),
        (ALICE, SECRET, Ok(())),
    ] {
        assert_eq!(told(&gate, login, password, "192.0.2.1").await, expected, "{login} {password}");
    }
}

#[tokio::test]
async fn what_holds_for_an_app_password_holds_for_the_secret_of_a_device() {
    let gate = adopted(|record| record.networks = vec!["192.0.2.0/24".parse().unwrap()]).await;
    assert_eq!(told(&gate, ALICE, SECRET, "192.0.2.1").await, Ok(()));
    assert_eq!(told(&gate, ALICE, SECRET, "198.51.100.1").await, WRONG);
    let refused = gate.auth.verify(claim(ALICE, SECRET), from("198.51.100.1", Protocol::Smtp)).await.unwrap_err();
    assert_eq!(refused.password_id(), Some("first"), "the administrator sees which one");
    gate.store.revoke_app_password("first", gate.clock.now()).await.unwrap();
    assert_eq!(told(&gate, ALICE, SECRET, "192.0.2.1").await, WRONG, "what was found out before counts no more");
}

#[tokio::test]
async fn what_was_wrong_before_it_was_adopted_is_right_behind_that() {
    let gate = adopted(|_| {}).await;
    assert_eq!(told(&gate, ALICE, "another one: 81 kg", "192.0.2.1").await, WRONG);
    let mut second = gate.store.app_passwords().await.unwrap().remove(0);
    second.id = "second".to_owned();
    second.verifier = pepper().verifier(b"nor this one");
    second.slow_hash = Some(pepper().slow_hasher().hash(b"another one: 81 kg").unwrap());
    gate.store.add_app_password(&second).await.unwrap();
    assert_eq!(told(&gate, ALICE, "another one: 81 kg", "192.0.2.1").await, Ok(()));
}

#[tokio::test]
async fn strangers_use_their_tries_up_together_and_whoever_is_known_goes_free() {
    let gate = adopted(|_| {}).await;
    assert_eq!(told(&gate, ALICE, SECRET, "192.0.2.1").await, Ok(()), "from here on this place is known");
    // Each from another address, so that none fails too often for itself.
    let mut answers = Vec::new();
    for number in 0..70 {
        answers.push(told(&gate, ALICE, &format!("guess {number}"), &format!("203.0.{number}.1")).await);
    }
    assert_eq!(answers.iter().filter(|answer| **answer == WRONG).count(), 59, "the owner's first was one");
    assert_eq!(answers.iter().filter(|answer| **answer == TOO_MANY).count(), 11);
    // Another secret than before: what was found out of that one would need no try.
    assert_eq!(told(&gate, ALICE, "not it", "192.0.2.77").await, WRONG, "a known place has tries of its own");
    assert_eq!(told(&gate, ALICE, SECRET, "192.0.2.99").await, Ok(()));
    // The right one of a stranger is not even looked at, unless it was found right before and is known for that.
    assert_eq!(told(&gate, "al", "guess 1", "203.0.113.1").await, WRONG, "found out before, under whatever name");
    assert_eq!(told(&gate, "nobody@contoso.test", "guess", "203.0.113.1").await, WRONG, "each name has its own");
    for number in 0..60 {
        told(&gate, "nobody@contoso.test", &format!("guess {number}"), &format!("203.0.{number}.2")).await.unwrap_err();
    }
    let spent = told(&gate, "nobody@contoso.test", "one more", "203.0.113.2").await;
    assert_eq!(spent, TOO_MANY, "a name that is nobody's is told the same");
}

#[tokio::test]
async fn the_ways_to_spell_a_name_have_no_tries_of_their_own() {
    let gate = adopted(|_| {}).await;
    for name in [ALICE, "nobody@contoso.test"] {
        for number in 0..60 {
            let login = format!("{number}\\{}", if number % 2 == 0 { name.to_owned() } else { name.to_uppercase() });
            assert_eq!(told(&gate, &login, &format!("guess {number}"), &format!("203.0.{number}.1")).await, WRONG);
        }
        for login in [name.to_owned(), format!("x/{name}")] {
            assert_eq!(told(&gate, &login, "one more", "203.0.113.1").await, TOO_MANY, "{login}");
            // What was found wrong is told again without a try, whether the name means a mailbox or not.
            assert_eq!(told(&gate, &login, "guess 1", "203.0.114.1").await, WRONG, "{login}");
        }
    }
}

#[tokio::test]
async fn a_right_one_in_the_wrong_place_is_told_like_a_wrong_one_when_no_tries_are_left() {
    let gate = adopted(|record| record.networks = vec!["192.0.2.0/24".parse().unwrap()]).await;
    assert_eq!(told(&gate, ALICE, SECRET, "203.0.1.1").await, WRONG);
    for number in 0..59 {
        told(&gate, ALICE, &format!("guess {number}"), &format!("203.0.{number}.2")).await.unwrap_err();
    }
    for password in [SECRET, "guess 1"] {
        assert_eq!(told(&gate, ALICE, password, "203.0.113.1").await, WRONG, "{password}: it is remembered");
    }
    // Anything that changes the store makes both forgotten.
    gate.store.halt(&crate::store::Halt { tenant: None, at: gate.clock.now(), reason: None }).await.unwrap();
    gate.store.resume(None).await.unwrap();
    for password in [SECRET, "guess 1"] {
        assert_eq!(told(&gate, ALICE, password, "203.0.113.3").await, TOO_MANY, "{password}");
    }
    assert_eq!(told(&gate, ALICE, SECRET, "192.0.2.1").await, Ok(()), "where it may be used it is let in");
}

#[tokio::test]
async fn a_generated_one_is_let_in_however_many_guess() {
    let gate = adopted(|_| {}).await;
    let mut generated = gate.store.app_passwords().await.unwrap().remove(0);
    generated.id = "generated".to_owned();
    generated.verifier = pepper().verifier(RIGHT.as_bytes());
    generated.slow_hash = None;
    gate.store.add_app_password(&generated).await.unwrap();
    for number in 0..65 {
        told(&gate, ALICE, &format!("guess {number}"), &format!("203.0.{number}.1")).await.unwrap_err();
    }
    assert_eq!(told(&gate, ALICE, RIGHT, "203.0.113.1").await, Ok(()));
    assert_eq!(told(&gate, ALICE, SECRET, "203.0.113.1").await, TOO_MANY, "at a new place that has to wait");
}

#[tokio::test]
async fn a_try_comes_back_every_minute() {
    let gate = adopted(|_| {}).await;
    for number in 0..61 {
        told(&gate, ALICE, &format!("guess {number}"), &format!("203.0.{number}.1")).await.unwrap_err();
    }
    assert_eq!(told(&gate, ALICE, SECRET, "203.0.113.1").await, TOO_MANY);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    assert_eq!(told(&gate, ALICE, SECRET, "203.0.113.1").await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_devices_that_come_at_once_are_all_let_in() {
    let gate = Arc::new(adopted(|record| record.networks = vec!["10.0.0.0/8".parse().unwrap()]).await);
    let mut devices = tokio::task::JoinSet::new();
    for number in 0..40 {
        let gate = Arc::clone(&gate);
        devices.spawn(async move { told(&gate, ALICE, SECRET, &format!("10.1.{number}.1")).await });
    }
    while let Some(told) = devices.join_next().await {
        assert_eq!(told.unwrap(), Ok(()));
    }
}
