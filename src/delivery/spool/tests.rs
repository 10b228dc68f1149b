use super::*;

async fn whole(spool: &Spool, id: &str) -> Vec<u8> {
    let mut reading = spool.read(id).await.unwrap();
    let (mut all, mut buffer) = (Vec::new(), [0; 7]);
    loop {
        let piece = reading.piece(&mut buffer).await.unwrap();
        if piece.is_empty() {
            return all;
        }
        all.extend_from_slice(piece);
    }
}

#[tokio::test]
async fn a_message_is_there_once_it_is_kept_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1_000_000).unwrap();
    let mut draft = spool.begin().await.unwrap();
    draft.write(b"Subject: one\r\n\r\n").await.unwrap();
    draft.write(b"text\r\n").await.unwrap();
    let id = draft.id().to_owned();
    assert_eq!((draft.octets(), draft.head()), (22, &b"Subject: one\r\n\r\ntext\r\n"[..]));
    assert!(spool.read(&id).await.is_err(), "a draft is no message");
    draft.keep().await.unwrap();
    assert_eq!(whole(&spool, &id).await, b"Subject: one\r\n\r\ntext\r\n");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&spool.folder), mode(&spool.path(&id, NEW))), (0o700, 0o600));
    }
    // The next process finds it, and counts it.
    let again = Spool::open(folder.path(), 1_000_000).unwrap();
    assert_eq!(again.used_octets.load(Ordering::Relaxed), 22);
    again.remove(&id).await.unwrap();
    again.remove(&id).await.unwrap();
    assert_eq!(again.used_octets.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_is_not_kept_goes_and_what_a_killed_process_left_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1_000_000).unwrap();
    let mut dropped = spool.begin().await.unwrap();
    dropped.write(b"gone").await.unwrap();
    drop(dropped);
    assert_eq!(std::fs::read_dir(&spool.folder).unwrap().count(), 0);
    assert_eq!(spool.used_octets.load(Ordering::Relaxed), 0);

    // A known one and an unknown one of each stage.
    let mut known = HashSet::new();
    for stage in [NEW, COMPLETE, GONE] {
        for is_known in [true, false] {
            let mut draft = spool.begin().await.unwrap();
            draft.write(stage.as_bytes()).await.unwrap();
            let id = draft.id().to_owned();
            draft.keep().await.unwrap();
            if stage != NEW {
                spool.settle(&id).await;
            }
            if stage == GONE {
                spool.retire(&id).await;
            }
            assert!(spool.path(&id, stage).exists());
            assert_eq!(whole(&spool, &id).await, stage.as_bytes(), "whatever its name");
            if is_known {
                known.insert(id);
            }
        }
    }
    std::fs::write(spool.folder.join("abc.part"), b"half").unwrap();
    let spool = Spool::open(folder.path(), 1_000_000).unwrap();
    assert_eq!(spool.sweep(&known).unwrap(), Swept { removed: 3, set_aside: 1 });
    for id in &known {
        assert!(spool.path(id, COMPLETE).exists());
    }
    let aside: Vec<_> = std::fs::read_dir(spool.folder.join(LEFT_OVER)).unwrap().collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(
        std::fs::read(aside[0].as_ref().unwrap().path()).unwrap(),
        b"eml",
        "a restored store may have forgotten it"
    );
    assert_eq!(std::fs::read_dir(&spool.folder).unwrap().count(), known.len() + 1);
    assert_eq!(spool.used_octets.load(Ordering::Relaxed), (NEW.len() + COMPLETE.len() + GONE.len()) as u64);
    assert_eq!(spool.sweep(&known).unwrap(), Swept::default());
}

#[tokio::test]
async fn the_quota_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1000).unwrap();
    assert!(spool.check_room(800).is_ok());
    assert!(matches!(spool.check_room(801), Err(SpoolError::Full { .. })), "80 percent of it");
    let mut draft = spool.begin().await.unwrap();
    draft.write(&[b'a'; 900]).await.unwrap();
    assert!(spool.begin().await.is_err(), "while that much is coming");
    assert!(matches!(draft.write(&[b'a'; 101]).await, Err(SpoolError::Full { .. })));
    drop(draft);
    assert!(spool.begin().await.is_ok());
}

#[tokio::test]
async fn what_another_process_has_taken_out_counts_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1000).unwrap();
    let mut draft = spool.begin().await.unwrap();
    draft.write(&[b'a'; 900]).await.unwrap();
    let id = draft.id().to_owned();
    draft.keep().await.unwrap();
    assert!(spool.begin().await.is_err());
    Spool::open(folder.path(), 1000).unwrap().remove(&id).await.unwrap();
    // Not each time, as a folder may be long.
    assert!(spool.begin().await.is_err());
    *spool.counted_at.lock().unwrap() = Instant::now().checked_sub(COUNTING_TIME).unwrap();
    assert!(spool.begin().await.is_ok());
}
