//! The script for Exchange Online PowerShell that lets Postern into mailboxes, and takes it back.

use crate::admin::ops::setup::powershell::{comment, quoted};
use crate::base::{Mailbox, Protocol};
use crate::config::{Cloud, Config, Grant, Route, Tenant};

/// What the script is filled in with.
#[derive(Clone, Debug)]
pub struct Script {
    /// The name of the tenant here.
    pub tenant: String,
    /// Its cloud.
    pub cloud: Cloud,
    /// The application (client) ID.
    pub client_id: String,
    /// The object ID of the enterprise application, if it is known yet.
    pub object_id: Option<String>,
    /// The protocols for which the application itself signs in.
    pub app_only: Vec<Protocol>,
    /// Those for which a person does.
    pub delegated: Vec<Protocol>,
    /// The mailboxes.
    pub mailboxes: Vec<Mailbox>,
    /// The account that signs in for them, where that is another.
    pub sign_in_as: Option<Mailbox>,
    /// Whether the application itself sends by Microsoft Graph.
    pub graph: bool,
    /// Whether a person does.
    pub delegated_graph: bool,
}

/// The first words of every script, by which an older one is known.
const FIRST_WORDS: &str = "# Lets Postern into mailboxes";

/// Whether `text` is such a script, which a newer one may replace.
pub fn is_script(text: &str) -> bool {
    text.starts_with(FIRST_WORDS)
}

impl Script {
    /// The one for `mailboxes` of a tenant, for the protocols that the listeners of `config` speak.
    pub fn of(
        config: &Config,
        tenant: &Tenant,
        mailboxes: Vec<Mailbox>,
        sign_in_as: Option<Mailbox>,
        object_id: Option<String>,
    ) -> Self {
        let spoken = |delegated: bool| {
            let listens = |protocol: &Protocol| config.listeners.iter().any(|listener| listener.protocol == *protocol);
            let goes = |protocol: &Protocol| *protocol != Protocol::Smtp || tenant.routes.contains(&Route::Smtp);
            let mut protocols: Vec<Protocol> = Protocol::ALL.into_iter().filter(listens).filter(goes).collect();
            protocols.retain(|protocol| tenant.grants.of(*protocol).is_delegated() == delegated);
            protocols
        };
        let by_graph = tenant.routes.contains(&Route::Graph);
        let by_person = tenant.grants.of(Protocol::Smtp).is_delegated();
        Self {
            tenant: tenant.name.to_string(),
            cloud: tenant.cloud,
            client_id: tenant.client_id.clone(),
            object_id,
            app_only: spoken(false),
            delegated: spoken(true),
            mailboxes,
            sign_in_as,
            graph: by_graph && !by_person,
            delegated_graph: by_graph && by_person,
        }
    }

    /// The one for a tenant that is still to be written.
    pub fn of_new(tenant: &str, cloud: Cloud, client_id: &str, grant: Grant, protocols: &[Protocol]) -> Self {
        let of = |wanted: bool| if grant.is_delegated() == wanted { protocols.to_vec() } else { Vec::new() };
        Self {
            tenant: tenant.to_owned(),
            cloud,
            client_id: client_id.to_owned(),
            object_id: None,
            app_only: of(false),
            delegated: of(true),
            mailboxes: Vec::new(),
            sign_in_as: None,
            graph: false,
            delegated_graph: false,
        }
    }

    /// The text; `None` for clouds that have no Exchange Online PowerShell: personal and custom ones.
    pub fn text(&self) -> Option<String> {
        let environment = match self.cloud {
            Cloud::Global => "",
            Cloud::GccHigh => " -ExchangeEnvironmentName O365USGovGCCHigh",
            Cloud::Dod => " -ExchangeEnvironmentName O365USGovDoD",
            Cloud::China => " -ExchangeEnvironmentName O365China",
            Cloud::Personal | Cloud::Custom => return None,
        };
        let app_only = !self.app_only.is_empty() || self.graph;
        let by_role = self.app_only.contains(&Protocol::Smtp);
        let mut text = self.head(by_role);
        text.push_str("\n$ErrorActionPreference = 'Stop'\n\n");
        if app_only {
            text.push_str(&self.application());
        }
        if let Some(account) = &self.sign_in_as {
            text.push_str("# The account that signs in for them.\n");
            text.push_str(&format!("$Account = {}\n", quoted(account.as_str())));
        }
        text.push_str("$Mailboxes = @(\n");
        let mailboxes: Vec<String> =
            self.mailboxes.iter().map(|mailbox| format!("    {}", quoted(mailbox.as_str()))).collect();
        text.push_str(&format!("{}\n)\n\n", mailboxes.join(",\n")));
        if app_only {
            text.push_str(NEEDS_OBJECT_ID);
        }
        text.push_str(&format!("Connect-ExchangeOnline{environment}\n\n"));
        text.push_str(&self.undo(app_only));
        text.push_str(&self.set_up(app_only, by_role));
        Some(text)
    }

    fn head(&self, by_role: bool) -> String {
        let mut text = format!("{FIRST_WORDS} of the tenant {}. Made by `postern setup`.\n", comment(&self.tenant));
        text.push_str(
            "#
# For Exchange Online PowerShell, to be run by an administrator of Exchange:
#
#     Install-Module ExchangeOnlineManagement    # once on this machine
#     ./postern-setup.ps1                        # sets it up; running it again does no harm
",
        );
        if by_role {
            text.push_str(
                "#     ./postern-setup.ps1 -SmtpByRole            # the same, with less for SMTP: see there
",
            );
        }
        if self.graph {
            text.push_str(
                "#     ./postern-setup.ps1 -GraphByRole           # the same, and sending by Graph for these mailboxes alone: see there
",
            );
        }
        text.push_str(
            "#     ./postern-setup.ps1 -Undo                  # takes it back
#
# What is marked [not confirmed] is not in Microsoft's documents in this form.
",
        );
        let switches = [(by_role, "[switch] $SmtpByRole, "), (self.graph, "[switch] $GraphByRole, ")];
        let switches: String =
            switches.into_iter().filter(|(is_there, _)| *is_there).map(|(_, switch)| switch).collect();
        text.push_str(&format!("\nparam({switches}[switch] $Undo)\n"));
        text
    }

    fn application(&self) -> String {
        format!(
            "# The application (client) ID.
$ApplicationId = {}
# The object ID of the ENTERPRISE application: Entra admin centre, Enterprise applications, the application, Object ID.
# The one on the page of the app registration is another, and every login would fail with it.
$ObjectId = {}
",
            quoted(&self.client_id),
            quoted(self.object_id.as_deref().unwrap_or_default())
        )
    }

    fn set_up(&self, app_only: bool, by_role: bool) -> String {
        let mut text = String::new();
        if app_only {
            text.push_str(
                "# The application as Exchange knows it, once for all mailboxes.
if (-not (Get-ServicePrincipal | Where-Object { $_.AppId -eq $ApplicationId })) {
    New-ServicePrincipal -AppId $ApplicationId -ObjectId $ObjectId -DisplayName 'Postern'
}

",
            );
        }
        if by_role {
            text.push_str(BY_ROLE);
        }
        if self.graph {
            text.push_str(GRAPH_BY_ROLE);
            text.push_str(&as_graph(role_block()));
        }
        text.push_str("foreach ($Mailbox in $Mailboxes) {\n");
        if !self.app_only.is_empty() {
            text.push_str(self.permissions());
        }
        if self.is_by_account() {
            text.push_str(
                "    # The account opens the mailbox, and sends as it.
    Add-MailboxPermission -Identity $Mailbox -User $Account -AccessRights FullAccess
    Add-RecipientPermission -Identity $Mailbox -Trustee $Account -AccessRights SendAs -Confirm:$false
",
            );
        }
        if self.speaks(Protocol::Smtp) {
            text.push_str(
                "    # SMTP: this switch holds for OAuth as well. It was:
    Get-CASMailbox -Identity $Mailbox | Format-List PrimarySmtpAddress, SmtpClientAuthenticationDisabled
    # A change takes about 15 minutes until it holds.
    Set-CASMailbox -Identity $Mailbox -SmtpClientAuthenticationDisabled $false
",
            );
        }
        if self.speaks(Protocol::Imap) || self.speaks(Protocol::Pop3) {
            text.push_str(
                "    # Both are on unless somebody has switched them off.
    Get-CASMailbox -Identity $Mailbox | Format-List PrimarySmtpAddress, ImapEnabled, PopEnabled
",
            );
        }
        text.push_str("}\n");
        if self.is_by_account() && !self.delegated.is_empty() {
            text.push_str(
                "
# For a shared mailbox it is the account's own switches that count.
Get-CASMailbox -Identity $Account | Format-List PrimarySmtpAddress, SmtpClientAuthenticationDisabled, ImapEnabled, PopEnabled
",
            );
            if self.delegated.contains(&Protocol::Smtp) {
                text.push_str(
                    "Set-CASMailbox -Identity $Account -SmtpClientAuthenticationDisabled $false    # [not confirmed]\n",
                );
            }
        }
        text
    }

    fn permissions(&self) -> &'static str {
        let smtp = self.app_only.contains(&Protocol::Smtp);
        let reads = self.app_only.iter().any(|protocol| *protocol != Protocol::Smtp);
        match (smtp, reads) {
            (true, true) => {
                "    # To open it; and to send as it, which the role allows by itself.
    Add-MailboxPermission -Identity $Mailbox -User $ObjectId -AccessRights FullAccess
    if (-not $SmtpByRole) {
        Add-RecipientPermission -Identity $Mailbox -Trustee $ObjectId -AccessRights SendAs -Confirm:$false
    }
"
            }
            (true, false) => {
                "    # To open it, and to send as it, which the role allows by itself.
    if (-not $SmtpByRole) {
        Add-MailboxPermission -Identity $Mailbox -User $ObjectId -AccessRights FullAccess
        Add-RecipientPermission -Identity $Mailbox -Trustee $ObjectId -AccessRights SendAs -Confirm:$false
    }
"
            }
            (false, _) => {
                "    # To open it.
    Add-MailboxPermission -Identity $Mailbox -User $ObjectId -AccessRights FullAccess
"
            }
        }
    }

    /// Takes back whatever a script of this tenant may have given, also one that was made when `routes` and the listeners were others.
    fn undo(&self, app_only: bool) -> String {
        let mut text = String::from(
            "if ($Undo) {
    # What is not there is told, and no reason to stop.
    $ErrorActionPreference = 'Continue'
    foreach ($Mailbox in $Mailboxes) {
",
        );
        let mut take = |trustee: &str| {
            text.push_str(&format!(
                "        Remove-RecipientPermission -Identity $Mailbox -Trustee {trustee} -AccessRights SendAs -Confirm:$false\n"
            ));
            text.push_str(&format!(
                "        Remove-MailboxPermission -Identity $Mailbox -User {trustee} -AccessRights FullAccess -Confirm:$false\n"
            ));
        };
        if app_only {
            take("$ObjectId");
        }
        if self.sign_in_as.is_some() {
            take("$Account");
        }
        if self.speaks(Protocol::Smtp) {
            text.push_str(
                "        # $null: as the whole organisation has it, which holds where nobody has decided otherwise. Leave it out for a mailbox
        # from which other programs send by SMTP.
        Set-CASMailbox -Identity $Mailbox -SmtpClientAuthenticationDisabled $null
",
            );
        }
        text.push_str("    }\n");
        if app_only {
            text.push_str(TAKE_ROLE);
            text.push_str(&as_graph(TAKE_ROLE));
            text.push_str(
                "    # With it the application loses every mailbox that it was let into.
    Remove-ServicePrincipal -Identity $ApplicationId -Confirm:$false
",
            );
        }
        text.push_str("    return\n}\n\n");
        text
    }

    /// Whether one account opens the mailboxes, or sends as them.
    fn is_by_account(&self) -> bool {
        self.sign_in_as.is_some() && (!self.delegated.is_empty() || self.delegated_graph)
    }

    fn speaks(&self, protocol: Protocol) -> bool {
        self.app_only.contains(&protocol) || self.delegated.contains(&protocol)
    }
}

const NEEDS_OBJECT_ID: &str = "if (-not $ObjectId) {
    throw 'Put the object ID of the enterprise application into $ObjectId, at the top of this script.'
}

";

const TAKE_ROLE: &str = "    Remove-ManagementRoleAssignment -Identity 'Postern SMTP.SendAsApp' -Confirm:$false
    Remove-ManagementScope -Identity 'Postern SMTP' -Confirm:$false
    Remove-DistributionGroup -Identity 'Postern SMTP' -Confirm:$false
";

/// The commands of the role without the comment in front.
fn role_block() -> &'static str {
    BY_ROLE.find("if ($SmtpByRole)").and_then(|at| BY_ROLE.get(at..)).unwrap_or_default()
}

/// The same commands for Graph.
fn as_graph(commands: &str) -> String {
    let commands = commands.replace("SMTP.SendAsApp", "Mail.Send");
    commands.replace("Postern SMTP", "Postern Graph").replace("$SmtpByRole", "$GraphByRole")
}

const GRAPH_BY_ROLE: &str =
    "# The narrow way for Microsoft Graph, RBAC for Applications: the application may send as the members of one group and as nobody else. It has
# no effect while the application has the API permission Mail.Send in Entra, with which it may send as every mailbox of the tenant: take that
# away first. Until it holds 30 minutes to 2 hours can pass [not confirmed].
";

const BY_ROLE: &str =
    "# The narrow way for SMTP, RBAC for Applications: the application may send as the members of one group and as nobody else. It has no
# effect while the application has the API permission SMTP.SendAsApp: take that away first. Until it holds 30 minutes to 2 hours
# can pass [not confirmed]. There is no such role for IMAP and POP3.
if ($SmtpByRole) {
    $Group = Get-DistributionGroup -Identity 'Postern SMTP' -ErrorAction SilentlyContinue
    if ($Group) {
        foreach ($Mailbox in $Mailboxes) {
            Add-DistributionGroupMember -Identity 'Postern SMTP' -Member $Mailbox -ErrorAction Continue
        }
    } else {
        $Group = New-DistributionGroup -Name 'Postern SMTP' -Type Security -Members $Mailboxes
    }
    if (-not (Get-ManagementScope -Identity 'Postern SMTP' -ErrorAction SilentlyContinue)) {
        $Members = $Group.DistinguishedName -replace \"'\", \"''\"
        New-ManagementScope -Name 'Postern SMTP' -RecipientRestrictionFilter \"MemberOfGroup -eq '$Members'\"
    }
    if (-not (Get-ManagementRoleAssignment -Identity 'Postern SMTP.SendAsApp' -ErrorAction SilentlyContinue)) {
        New-ManagementRoleAssignment -Name 'Postern SMTP.SendAsApp' -Role 'Application SMTP.SendAsApp' -App $ApplicationId `
            -CustomResourceScope 'Postern SMTP'
    }
    # InScope must be True for each.
    foreach ($Mailbox in $Mailboxes) {
        Test-ServicePrincipalAuthorization -Identity $ApplicationId -Resource $Mailbox
    }
}

";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admin::ops::setup::powershell::tests::read;

    fn script(grant: Grant, protocols: &[Protocol]) -> Script {
        Script {
            mailboxes: vec!["alice@contoso.com".parse().unwrap(), "o'neil@contoso.com".parse().unwrap()],
            ..Script::of_new("contoso", Cloud::Global, "66666666-7777-8888-9999-000000000000", grant, protocols)
        }
    }

    #[test]
    fn the_application_is_let_into_the_mailboxes_and_taken_back() {
        let text = script(Grant::ClientCredentials, &Protocol::ALL).text().unwrap();
        assert!(is_script(&text));
        for part in [
            "$ApplicationId = '66666666-7777-8888-9999-000000000000'",
            "$ObjectId = ''",
            "    'alice@contoso.com',\n    'o''neil@contoso.com'\n)",
            "New-ServicePrincipal -AppId $ApplicationId -ObjectId $ObjectId",
            "Add-MailboxPermission -Identity $Mailbox -User $ObjectId -AccessRights FullAccess",
            "Add-RecipientPermission -Identity $Mailbox -Trustee $ObjectId -AccessRights SendAs",
            "Set-CASMailbox -Identity $Mailbox -SmtpClientAuthenticationDisabled $false",
            "-Role 'Application SMTP.SendAsApp' -App $ApplicationId",
            "Test-ServicePrincipalAuthorization -Identity $ApplicationId",
            // And back.
            "Remove-MailboxPermission -Identity $Mailbox -User $ObjectId -AccessRights FullAccess",
            "Remove-RecipientPermission -Identity $Mailbox -Trustee $ObjectId -AccessRights SendAs",
            "Set-CASMailbox -Identity $Mailbox -SmtpClientAuthenticationDisabled $null",
            "Remove-ManagementRoleAssignment",
            "Remove-ManagementScope",
            "Remove-ServicePrincipal -Identity $ApplicationId",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.is_ascii());
    }

    #[test]
    fn only_what_the_protocols_and_the_grant_need_is_in_it() {
        let imap = script(Grant::ClientCredentials, &[Protocol::Imap]).text().unwrap();
        let (undo, given) = imap.split_once("    return\n}\n").unwrap();
        assert!(given.contains("Add-MailboxPermission") && !given.contains("SendAs"), "{given}");
        assert!(!imap.contains("SmtpClient"), "{imap}");
        // It may have been given when mail went by SMTP, or by Graph.
        for part in ["AccessRights SendAs", "'Postern SMTP.SendAsApp'", "'Postern Mail.Send'"] {
            assert!(undo.contains(part), "{part}\n{undo}");
        }
        let people = script(Grant::DeviceCode, &Protocol::ALL).text().unwrap();
        assert!(people.contains("SmtpClientAuthenticationDisabled $false"), "{people}");
        for part in ["ServicePrincipal", "$ObjectId", "Add-MailboxPermission", "SmtpByRole"] {
            assert!(!people.contains(part), "{part}\n{people}");
        }
        let shared = Script {
            sign_in_as: Some("bob@contoso.com".parse().unwrap()),
            ..script(Grant::DeviceCode, &Protocol::ALL)
        };
        let shared = shared.text().unwrap();
        assert!(shared.contains("$Account = 'bob@contoso.com'"), "{shared}");
        assert!(shared.contains("Add-MailboxPermission -Identity $Mailbox -User $Account"), "{shared}");
        let cloud = |cloud| Script { cloud, ..script(Grant::ClientCredentials, &Protocol::ALL) }.text();
        assert!(cloud(Cloud::China).unwrap().contains("Connect-ExchangeOnline -ExchangeEnvironmentName O365China\n"));
        assert!(cloud(Cloud::Custom).is_none() && cloud(Cloud::Personal).is_none());
    }

    #[test]
    fn an_application_that_sends_by_graph_gets_a_role_for_that_and_nothing_of_smtp() {
        let graph = Script { graph: true, ..script(Grant::ClientCredentials, &[]) }.text().unwrap();
        for part in [
            "param([switch] $GraphByRole, [switch] $Undo)",
            "if ($GraphByRole) {",
            "New-ManagementRoleAssignment -Name 'Postern Mail.Send' -Role 'Application Mail.Send' -App $ApplicationId",
            "New-ServicePrincipal -AppId $ApplicationId",
            "    Remove-ManagementRoleAssignment -Identity 'Postern Mail.Send'",
            "    Remove-ManagementScope -Identity 'Postern Graph'",
        ] {
            assert!(graph.contains(part), "{part}\n{graph}");
        }
        let (_, given) = graph.split_once("    return\n}\n").unwrap();
        for part in ["Smtp", "SMTP", "Add-MailboxPermission"] {
            assert!(!given.contains(part), "{part}\n{graph}");
        }
        // A person that sends for others by Graph has to be let in as well.
        let account = Some("bob@contoso.com".parse().unwrap());
        let person = Script { delegated_graph: true, sign_in_as: account, ..script(Grant::DeviceCode, &[]) };
        let person = person.text().unwrap();
        let (undo, given) = person.split_once("    return\n}\n").unwrap();
        assert!(given.contains("Add-RecipientPermission -Identity $Mailbox -Trustee $Account"), "{given}");
        assert!(undo.contains("Remove-RecipientPermission -Identity $Mailbox -Trustee $Account"), "{undo}");
        assert!(!given.contains("Get-CASMailbox"), "{given}");
        let both = Script { graph: true, ..script(Grant::ClientCredentials, &Protocol::ALL) }.text().unwrap();
        assert!(both.contains("param([switch] $SmtpByRole, [switch] $GraphByRole, [switch] $Undo)"), "{both}");
        assert!(both.contains("-Name 'Postern SMTP.SendAsApp'") && both.contains("-Name 'Postern Mail.Send'"));
    }

    /// Braces and parentheses outside of strings and comments close what they open.
    #[test]
    fn every_bracket_is_closed() {
        for grant in Grant::ALL {
            for protocols in [&Protocol::ALL[..], &[Protocol::Smtp], &[Protocol::Imap]] {
                let account = Some("b@x".parse().unwrap());
                let text = Script { sign_in_as: account, graph: true, ..script(grant, protocols) }.text().unwrap();
                let mut open = Vec::new();
                for line in text.lines().map(|line| line.trim_start()).filter(|line| !line.starts_with('#')) {
                    let code: String = line.split('\'').step_by(2).collect();
                    for c in code.chars() {
                        match c {
                            '(' | '{' | '[' => open.push(c),
                            ')' => assert_eq!(open.pop(), Some('('), "{line}"),
                            '}' => assert_eq!(open.pop(), Some('{'), "{line}"),
                            ']' => assert_eq!(open.pop(), Some('['), "{line}"),
                            _ => {}
                        }
                    }
                }
                assert!(open.is_empty(), "{open:?}\n{text}");
            }
        }
    }

    proptest! {
        #[test]
        fn answers_stay_in_their_strings_and_add_no_line(
            answers in prop::array::uniform3("\\PC{0,20}|['\u{2018}-\u{201b}\"`$;#\\s\u{0}a]{0,20}"),
            local in "[a-z'`$#\u{2019}\u{e9}]{1,10}",
        ) {
            let [tenant, client_id, object_id] = answers;
            let mailbox: Mailbox = format!("{local}@x.test").parse().unwrap();
            let plain = script(Grant::ClientCredentials, &Protocol::ALL);
            let plain = Script { mailboxes: vec!["a@x".parse().unwrap()], ..plain };
            let hostile = Script {
                tenant,
                client_id: client_id.clone(),
                object_id: Some(object_id.clone()),
                mailboxes: vec![mailbox.clone()],
                ..plain.clone()
            };
            let (plain, text) = (plain.text().unwrap(), hostile.text().unwrap());
            prop_assert!(text.bytes().all(|octet| octet == b'\n' || (b' '..=b'~').contains(&octet)));
            prop_assert_eq!(plain.lines().count(), text.lines().count());
            let mut differing = Vec::new();
            for (before, line) in plain.lines().zip(text.lines()) {
                if before != line {
                    differing.push(line);
                }
            }
            for line in differing {
                let found = if line.starts_with(FIRST_WORDS) {
                    continue;
                } else if let Some(value) = line.strip_prefix("$ApplicationId = ") {
                    prop_assert_eq!(read(value), Some(client_id.clone()));
                    continue;
                } else if let Some(value) = line.strip_prefix("$ObjectId = ") {
                    prop_assert_eq!(read(value), Some(object_id.clone()));
                    continue;
                } else {
                    read(line.trim_start())
                };
                prop_assert_eq!(found.as_deref(), Some(mailbox.as_str()), "{}", line);
            }
        }
    }
}
