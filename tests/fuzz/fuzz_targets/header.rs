//! The header editor: the same in any pieces, nothing of the message changed, and nobody let through who may not send.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::wire::header::{HeaderEditor, Rules, Senders, Unfit, header_of, is_of};

const ALICE: &str = "alice@contoso.test";

/// Who may stand in the header, who takes the place of From, and whether nobody but Alice may stand there in the end.
type Case = (&'static [&'static str], Option<&'static str>, bool);

fn edited(message: &[u8], step: usize, (allowed, force_from, pinned): Case) -> Result<Vec<u8>, Unfit> {
    let mut editor = HeaderEditor::new(Rules {
        received: "by mail.test (Postern)".to_owned(),
        date: "today".to_owned(),
        message_id: "made@contoso.test".to_owned(),
        from: "alice@contoso.test".to_owned(),
        senders: Senders(allowed.iter().map(|&one| one.to_owned()).collect()),
        force_from: force_from.map(str::to_owned),
        pinned: pinned.then(|| ALICE.to_owned()),
    });
    let mut out = Vec::new();
    for piece in message.chunks(step.max(1)) {
        editor.push(piece, &mut out)?;
    }
    editor.finish(&mut out)?;
    Ok(out)
}

fuzz_target!(|input: &[u8]| {
    let Some((&step, message)) = input.split_first() else { return };
    let cases: [Case; 5] = [
        (&[], None, false),
        (&["@contoso.test"], None, false),
        (&["@contoso.test"], Some(ALICE), false),
        (&[], None, true),
        (&[], Some(ALICE), true),
    ];
    for case in cases {
        let whole = edited(message, usize::MAX, case);
        assert_eq!(whole, edited(message, usize::from(step), case));
        let (_, force_from, pinned) = case;
        if let (Ok(out), None) = (&whole, force_from) {
            assert!(out.starts_with(b"Received: by mail.test (Postern)\r\n"));
            assert!(out.ends_with(message), "nothing of the message is changed");
            assert!(out.len() <= message.len() + 200);
        }
        if let (Ok(out), true) = (&whole, pinned) {
            assert!(is_of(header_of(out), ALICE), "nobody else stands in it");
        }
    }
});
