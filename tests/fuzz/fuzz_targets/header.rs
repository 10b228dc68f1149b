//! The header editor: the same in any pieces, nothing of the message changed, and nobody let through who may not send.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern::wire::header::{HeaderEditor, Rules, Senders, Unfit};

fn edited(message: &[u8], step: usize, allowed: &[&str], force_from: Option<&str>) -> Result<Vec<u8>, Unfit> {
    let mut editor = HeaderEditor::new(Rules {
        received: "by mail.test (Postern)".to_owned(),
        date: "today".to_owned(),
        message_id: "made@contoso.test".to_owned(),
        from: "alice@contoso.test".to_owned(),
        senders: Senders(allowed.iter().map(|&one| one.to_owned()).collect()),
        force_from: force_from.map(str::to_owned),
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
    for (allowed, force_from) in
        [(&[][..], None), (&["@contoso.test"][..], None), (&["@contoso.test"][..], Some("alice@contoso.test"))]
    {
        let whole = edited(message, usize::MAX, allowed, force_from);
        assert_eq!(whole, edited(message, usize::from(step), allowed, force_from));
        if let (Ok(out), None) = (&whole, force_from) {
            assert!(out.starts_with(b"Received: by mail.test (Postern)\r\n"));
            assert!(out.ends_with(message), "nothing of the message is changed");
            assert!(out.len() <= message.len() + 200);
        }
    }
});
