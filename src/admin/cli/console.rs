//! `postern console`: a link that signs a browser in to the console.

use clap::Args;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::admin::cli::failure::Failure;
use crate::admin::cli::set_up::SetUp;
use crate::admin::ops::Ops;
use crate::admin::tables::timestamp;

/// Print a link that signs one browser in to the console
///
/// The console shows what `status`, the lists and `explain` show, and which app passwords end soon. There is no password: whoever may give
/// this command may look. The link can be used once, within ten minutes; a browser stays signed in until nobody has looked for half an hour.
#[derive(Args, Debug)]
pub(super) struct ConsoleCommand {}

#[derive(Serialize)]
struct Document<'a> {
    link: &'a str,
    expires_at: String,
}

impl ConsoleCommand {
    pub(super) fn run(self, set_up: &SetUp) -> Result<(), Failure> {
        let config = set_up.config()?;
        let output = &set_up.output;
        set_up.wait_for(async {
            let ops = Ops::open_existing(&config, None).await?;
            let address = ops.console_address()?;
            let link = ops.make_console_link(address).await?;
            if output.is_json() {
                return output.json(&Document { link: link.url.expose(), expires_at: timestamp(link.expires_at) });
            }
            output.data(&Zeroizing::new(format!("{}\n", link.url.expose())))?;
            output.note(&format!(
                "open it in a browser on this machine; it lets one in, once, until {}",
                timestamp(link.expires_at)
            ));
            output.note(&format!("from another machine, first: ssh -L {port}:{address} HOST", port = address.port()));
            Ok(())
        })
    }
}
