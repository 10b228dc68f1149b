//! The presets of each cloud: five settings that differ independently of one another.
//!
//! The host names are those of Microsoft's endpoint lists. Every national cloud is separate: a token of one is worth nothing
//! in another.

use crate::base::Protocol;
use crate::config::model::{Cloud, Grant};

/// What a cloud sets before the file overrides it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preset {
    /// Where tokens are had, without a path.
    pub(super) authority: &'static str,
    /// IMAP and POP3, on 993 and 995.
    pub(super) mailbox_host: &'static str,
    /// SMTP, on 587.
    pub(super) smtp_host: &'static str,
    /// The prefix of delegated scopes.
    pub(super) delegated_prefix: &'static str,
    /// The prefix of the app-only scope.
    pub(super) app_only_prefix: &'static str,
    /// Microsoft Graph.
    pub(super) graph: &'static str,
}

impl Preset {
    /// The scope of a token for `protocol`, as it is asked for. Delegated ones need the Outlook prefix even though the
    /// permission stands under Microsoft Graph in the portal.
    pub(super) fn scope(&self, protocol: Protocol, grant: Grant) -> String {
        if grant == Grant::ClientCredentials {
            return format!("{}/.default", self.app_only_prefix);
        }
        let permission = match protocol {
            Protocol::Smtp => "SMTP.Send",
            Protocol::Imap => "IMAP.AccessAsUser.All",
            Protocol::Pop3 => "POP.AccessAsUser.All",
        };
        format!("{}/{permission} offline_access", self.delegated_prefix)
    }
}

/// High Volume Email, worldwide; on 587, with STARTTLS.
pub(super) const HIGH_VOLUME_HOST: &str = "smtp.hve.mx.microsoft";

/// Worldwide.
pub(super) const GLOBAL: Preset = Preset {
    authority: "https://login.microsoftonline.com",
    mailbox_host: "outlook.office365.com",
    smtp_host: "smtp.office365.com",
    delegated_prefix: "https://outlook.office.com",
    app_only_prefix: "https://outlook.office365.com",
    graph: "https://graph.microsoft.com",
};

/// The preset of `cloud`; a custom one has none.
pub(super) fn preset(cloud: Cloud) -> Option<Preset> {
    match cloud {
        Cloud::Global => Some(GLOBAL),
        Cloud::GccHigh => Some(Preset {
            authority: "https://login.microsoftonline.us",
            mailbox_host: "outlook.office365.us",
            smtp_host: "outlook.office365.us",
            delegated_prefix: "https://outlook.office365.us",
            app_only_prefix: "https://outlook.office365.us",
            graph: "https://graph.microsoft.us",
        }),
        Cloud::Dod => Some(Preset {
            authority: "https://login.microsoftonline.us",
            mailbox_host: "outlook-dod.office365.us",
            smtp_host: "outlook-dod.office365.us",
            delegated_prefix: "https://outlook.office365.us",
            app_only_prefix: "https://outlook.office365.us",
            graph: "https://dod-graph.microsoft.us",
        }),
        Cloud::China => Some(Preset {
            authority: "https://login.partner.microsoftonline.cn",
            mailbox_host: "partner.outlook.cn",
            smtp_host: "smtp.partner.outlook.cn",
            delegated_prefix: "https://partner.outlook.cn",
            app_only_prefix: "https://partner.outlook.cn",
            graph: "https://microsoftgraph.chinacloudapi.cn",
        }),
        Cloud::Personal => Some(Preset { smtp_host: "smtp-mail.outlook.com", ..GLOBAL }),
        Cloud::Custom => None,
    }
}
