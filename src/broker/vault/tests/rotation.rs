//! A change of the master key that stops wherever it can.

use super::*;

#[tokio::test]
async fn a_change_of_posterns_own_key_may_stop_at_any_step_and_is_ended_by_doing_it_again_or_by_serving() {
    let data = Data::new(|_| KeySource::Own).await;
    let serving = data.open().unwrap();
    let before = serving.key();
    let store = data.store().await;
    let mut stops = vec![(None, data.copy())];
    let vault = data.open().unwrap();
    let mut watch = |step| stops.push((Some(step), data.copy()));
    let rotated = vault.rotate(&store, None, true, &mut watch).await.unwrap();
    assert_eq!((rotated.from, rotated.change, rotated.wrapped), (before, Change::None, 3));
    assert!(rotated.closed.is_empty() && rotated.to != before);
    data.is_finished(rotated.to, "at the end").await;
    data.is_whole(&data.open().unwrap(), "at the end").await;
    data.is_whole(&serving, "one that was there before").await;
    assert_eq!(serving.key(), rotated.to);

    let steps: Vec<_> = stops.iter().map(|(step, _)| *step).collect();
    use Step::{Finished, Gathered, NextKept, PepperWrapped, PreviousKept, Promoted, RecordsWrapped};
    let all = [Gathered, PreviousKept, NextKept, RecordsWrapped, PepperWrapped, Promoted, Finished];
    assert_eq!(steps, [None].into_iter().chain(all.map(Some)).collect::<Vec<_>>());
    for (step, stopped) in stops {
        let when = format!("killed after {step:?}");
        // What a write that was broken off leaves behind.
        fs::write(stopped.keys("master.key.4711.new"), key_text(3)).unwrap();
        stopped.is_whole(&stopped.open().unwrap(), &when).await;

        let served = stopped.copy();
        let store = served.store().await;
        let settled = settle(&served.open().unwrap(), &store).await;
        store.close().await;
        assert_eq!(settled.change, Change::None, "{when}");
        served.is_finished(settled.key, &format!("{when}, then served")).await;
        served.is_whole(&served.open().unwrap(), &format!("{when}, then served")).await;

        let store = stopped.store().await;
        let again = stopped.open().unwrap().rotate(&store, None, false, &mut unwatched()).await.unwrap();
        store.close().await;
        assert_eq!(again.change, Change::None, "{when}");
        assert_ne!(again.to, before, "{when}");
        let goes_on = matches!(step, Some(NextKept | RecordsWrapped | PepperWrapped | Promoted));
        assert_eq!(again.to == rotated.to, goes_on, "{when}: what was begun is ended, and not begun anew");
        if goes_on {
            assert_eq!(again.from, before, "{when}");
        }
        stopped.is_finished(again.to, &format!("{when}, then again")).await;
        stopped.is_whole(&stopped.open().unwrap(), &format!("{when}, then again")).await;
    }
}

#[tokio::test]
async fn a_change_of_an_administrators_key_opens_with_both_until_the_source_has_the_new_one() {
    let data = Data::with_file().await;
    let KeySource::File(file) = &data.source else { unreachable!() };
    let before = data.open().unwrap().key();
    let store = data.store().await;
    let needed = data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap_err();
    assert_eq!(needed.code(), "new-key-needed");
    let same = data.open().unwrap().rotate(&store, Some(Secret::new([1; 32])), true, &mut unwatched()).await;
    assert_eq!(same.unwrap_err().code(), "new-key-is-the-old-one");

    let mut stops = vec![(None, data.copy())];
    let mut watch = |step| stops.push((Some(step), data.copy()));
    let rotated = data.open().unwrap().rotate(&store, Some(Secret::new([2; 32])), true, &mut watch).await.unwrap();
    assert_eq!((rotated.from, rotated.change), (before, Change::UnderWay { own: false }));
    assert_eq!(stops.last().unwrap().0, Some(Step::PepperWrapped), "the source is not Postern's to change");
    stops.push((None, data.copy()));
    for (step, stopped) in stops {
        let when = format!("killed after {step:?}");
        let KeySource::File(file) = &stopped.source else { unreachable!() };
        stopped.is_whole(&stopped.open().unwrap(), &format!("{when}, the old key")).await;
        // Again with the same key, as often as one likes.
        let store = stopped.store().await;
        for _ in 0..2 {
            let vault = stopped.open().unwrap();
            let again = vault.rotate(&store, Some(Secret::new([2; 32])), true, &mut unwatched()).await.unwrap();
            assert_eq!((again.from, again.to, again.change), (before, rotated.to, rotated.change), "{when}");
        }
        stopped.is_whole(&stopped.open().unwrap(), &format!("{when}, the old key again")).await;
        // Without a key nothing new is begun.
        let again = stopped.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
        assert_eq!((again.to, again.change), (rotated.to, rotated.change), "{when}");

        fs::write(file, key_text(2)).unwrap();
        stopped.is_whole(&stopped.open().unwrap(), &format!("{when}, the new key")).await;
        assert!(stopped.keys("next.sealed").exists());
        let again = match step {
            // Serving ends it, and so does the command.
            None => {
                let settled = settle(&stopped.open().unwrap(), &store).await;
                assert!(settled.finished);
                settled.key
            }
            Some(_) => {
                let done = stopped.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
                assert_eq!((done.from, done.change), (before, Change::None), "{when}");
                done.to
            }
        };
        store.close().await;
        assert_eq!(again, rotated.to);
        stopped.is_finished(rotated.to, &when).await;
        fs::write(file, key_text(1)).unwrap();
        let error = stopped.open().err().unwrap();
        assert_eq!(error.code(), "key-wrong", "{when}: the old key opens nothing any more");
        assert!(error.to_string().contains(&rotated.to.to_string()), "{error}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), key_text(1), "it is not Postern's file");
}

#[tokio::test]
async fn a_key_that_cannot_be_looked_up_again_is_not_taken_from_a_process_that_runs() {
    let data = Data::with_file().await;
    // As with a variable: what was given when it started is all there is.
    let script = format!("cat '{}'", data.folder.path().join("master").display());
    let data = Data { source: KeySource::Command(["/bin/sh", "-c", &script].map(str::to_owned).into()), ..data };
    let serving = data.open().unwrap();
    let store = data.store().await;
    let rotate =
        async |supplied, alone| data.open().unwrap().rotate(&store, supplied, alone, &mut unwatched()).await.unwrap();
    let rotated = rotate(Some(Secret::new([2; 32])), false).await;
    data.is_whole(&serving, "it finds the new key by the old one").await;
    assert_eq!(serving.key(), rotated.to);
    fs::write(data.folder.path().join("master"), key_text(2)).unwrap();
    let again = rotate(None, false).await;
    assert_eq!(again.change, Change::Switched { old_is_known: true }, "somebody may run who has the old key alone");
    data.is_whole(&serving, "it still runs").await;
    let restarted = data.open().unwrap();
    assert!(settle(&restarted, &store).await.finished);
    data.is_finished(rotated.to, "restarted").await;
    assert_eq!(rotate(Some(Secret::new([3; 32])), false).await.change, Change::UnderWay { own: false }, "and so on");
}

#[tokio::test]
async fn what_is_sealed_by_the_old_key_at_that_very_moment_is_neither_lost_nor_left() {
    let data = Data::new(|_| KeySource::Own).await;
    let (serving, store) = (data.open().unwrap(), data.store().await);
    let (tenant, alice) = (tenant(), account(ALICE));
    let place = Place::RefreshToken { tenant: &tenant, account: &alice };
    let before = store.sign_in(&tenant, Some(&alice)).await.unwrap().unwrap().sealed.unwrap();
    let after = serving.seal(place, b"token of alice").unwrap();

    let rotated = data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
    // The row is under the new key by now; it still holds the token that was rotated.
    assert_ne!(store.sign_in(&tenant, Some(&alice)).await.unwrap().unwrap().sealed.unwrap(), before);
    assert!(rotate_sign_in(&store, &tenant, &alice, &before, &after).await);
    assert!(!rotate_sign_in(&store, &tenant, &alice, &before, &after).await, "but no other token does");
    assert_eq!(store.sign_in(&tenant, Some(&alice)).await.unwrap().unwrap().sealed.unwrap(), after);

    // Killed just now: the next one that starts finds it under the old key, and can open it.
    data.is_whole(&data.open().unwrap(), "a process that starts").await;
    let settled = settle(&serving, &store).await;
    assert_eq!((settled.wrapped, settled.key), (1, rotated.to));
    data.is_finished(rotated.to, "settled").await;
    data.is_whole(&data.open().unwrap(), "settled").await;
    assert_eq!(settle(&serving, &store).await.wrapped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_meet_a_new_key_at_once_all_find_it() {
    let data = Data::new(|_| KeySource::Own).await;
    let (serving, store) = (Arc::new(data.open().unwrap()), data.store().await);
    for round in 0..30 {
        data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
        let records = Arc::new(store.sealed_records().await.unwrap());
        let gate = Arc::new(std::sync::Barrier::new(8));
        let tasks = (0..8).map(|_| {
            let (serving, records, gate) = (Arc::clone(&serving), Arc::clone(&records), Arc::clone(&gate));
            std::thread::spawn(move || {
                gate.wait();
                serving.unseal(Place::from(&records[0]), &records[0].sealed).map(drop)
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.join().unwrap().unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
}

#[tokio::test]
async fn a_change_can_be_given_another_aim_before_it_is_finished() {
    let data = Data::with_file().await;
    let store = data.store().await;
    let rotate = async |octet| {
        let mut stops = Vec::new();
        let mut watch = |_| stops.push(data.copy());
        data.open().unwrap().rotate(&store, Some(Secret::new([octet; 32])), true, &mut watch).await.unwrap();
        stops
    };
    rotate(2).await;
    for (number, stopped) in rotate(3).await.into_iter().enumerate() {
        stopped.is_whole(&stopped.open().unwrap(), &format!("stop {number}")).await;
    }
    let KeySource::File(file) = &data.source else { unreachable!() };
    fs::write(file, key_text(2)).unwrap();
    assert!(data.open().is_err(), "the key that was given up");
    fs::write(file, key_text(3)).unwrap();
    let settled = settle(&data.open().unwrap(), &store).await;
    assert!(settled.finished);
    data.is_finished(settled.key, "the last one").await;
    data.is_whole(&data.open().unwrap(), "the last one").await;
}

#[tokio::test]
async fn a_move_to_a_source_of_the_administrators_takes_posterns_own_key_away_in_the_end() {
    let data = Data::new(|_| KeySource::Own).await;
    let store = data.store().await;
    let moved = data.open().unwrap().rotate(&store, Some(Secret::new([2; 32])), true, &mut unwatched()).await.unwrap();
    assert_eq!(moved.change, Change::UnderWay { own: false });
    let again = data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
    assert_eq!((again.to, again.change), (moved.to, moved.change), "it is not put into Postern's own file");
    data.is_whole(&data.open().unwrap(), "the old place").await;

    fs::write(data.folder.path().join("elsewhere"), key_text(2)).unwrap();
    let data = Data { source: KeySource::File(data.folder.path().join("elsewhere")), ..data };
    assert!(data.keys("master.key").exists());
    assert!(settle(&data.open().unwrap(), &store).await.finished);
    assert!(!data.keys("master.key").exists());
    data.is_finished(moved.to, "moved").await;
    data.is_whole(&data.open().unwrap(), "moved").await;

    // Back again, with a file that lies where Postern's own does.
    fs::write(data.keys("master.key"), key_text(2)).unwrap();
    let data = Data { source: KeySource::File(data.keys("master.key")), ..data };
    let store = data.store().await;
    data.open().unwrap().rotate(&store, Some(Secret::new([4; 32])), true, &mut unwatched()).await.unwrap();
    fs::write(data.keys("master.key"), key_text(4)).unwrap();
    assert!(settle(&data.open().unwrap(), &store).await.finished);
    let data = Data { source: KeySource::Own, ..data };
    data.is_whole(&data.open().unwrap(), "the same file by its other name").await;
}

#[tokio::test]
async fn a_damaged_value_is_named_and_left_and_does_not_keep_the_others_from_a_new_key() {
    let data = Data::new(|_| KeySource::Own).await;
    let (store, alice) = (data.store().await, account(ALICE));
    let mut sealed = store.sign_in(&tenant(), Some(&alice)).await.unwrap().unwrap().sealed.unwrap();
    let wrapped = 1 + KeyId::OCTETS + 20;
    sealed[wrapped] ^= 1;
    keep(&store, &alice, sealed.clone()).await;
    let vault = data.open().unwrap();
    let rotated = vault.rotate(&store, None, true, &mut unwatched()).await.unwrap();
    assert_eq!((rotated.wrapped, rotated.change), (2, Change::None));
    let closed: Vec<_> = rotated.closed.iter().map(ToString::to_string).collect();
    assert!(closed.len() == 1 && closed[0].starts_with(&format!("the sign-in of {ALICE} is damaged")), "{closed:?}");
    assert_eq!(store.sign_in(&tenant(), Some(&alice)).await.unwrap().unwrap().sealed.unwrap(), sealed);

    let inventory = Vault::take_stock(&data.dir(), &data.source, &store).await.unwrap();
    assert!(!inventory.is_well() && inventory.fault.is_none());
    let closed: Vec<_> = inventory.values.iter().filter(|value| value.fault.is_some()).collect();
    assert!(closed.len() == 1 && closed[0].what == format!("the sign-in of {ALICE}"), "{closed:?}");
    assert_eq!(inventory.values.len(), 3);
}

#[tokio::test]
async fn a_backup_of_the_store_that_is_older_than_the_keys_beside_it_opens() {
    let data = Data::new(|_| KeySource::Own).await;
    let older = data.copy();
    let store = data.store().await;
    data.open().unwrap().rotate(&store, None, true, &mut unwatched()).await.unwrap();
    for name in ["master.key", "pepper.sealed", "previous.sealed"] {
        fs::copy(data.keys(name), older.keys(name)).unwrap();
    }
    older.is_whole(&older.open().unwrap(), "a store of before, keys of now").await;
}

#[tokio::test]
async fn keys_that_become_useless_while_it_runs_are_passed_over() {
    let data = Data::new(|_| KeySource::Own).await;
    let (serving, store) = (data.open().unwrap(), data.store().await);
    let (key, right) = (serving.key(), fs::read(data.keys("master.key")).unwrap());
    for wrong in [Some(key_text(9)), Some("x".to_owned()), None] {
        match &wrong {
            Some(text) => fs::write(data.keys("master.key"), text).unwrap(),
            None => fs::remove_file(data.keys("master.key")).unwrap(),
        }
        assert!(!serving.follow(), "{wrong:?}");
        assert_eq!(serving.key(), key);
        data.is_whole(&serving, "what is in memory goes on").await;
        data.sign_in(&store, &serving, ALICE, "token of alice").await;
        let error = serving.rotate(&store, None, true, &mut unwatched()).await.unwrap_err();
        assert!(["key-wrong", "key-unreadable", "key-missing"].contains(&error.code()), "{error}");
    }
    fs::write(data.keys("master.key"), right).unwrap();
    data.is_whole(&data.open().unwrap(), "the right one").await;
}

/// What serving does about the keys. A program that another test starts has our lock for a moment, between its fork and its exec.
async fn settle(vault: &Vault, store: &SqliteStore) -> Settled {
    let trying = async {
        loop {
            match vault.settle(store).await.unwrap() {
                Some(settled) => return settled,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), trying).await.unwrap()
}
