//! The registration of the application in Microsoft Graph PowerShell, for whoever would rather run commands than click.

use crate::admin::ops::setup::powershell::quoted;
use crate::admin::ops::setup::steps::{Proof, Registration, permission};
use crate::config::Cloud;

/// The commands, with their undo; `None` where there is no such thing: personal accounts and services of others.
///
/// They are written from Microsoft's reference of these cmdlets and say so, since no tenant was at hand to run them against.
pub(super) fn by_powershell(asked: &Registration<'_>) -> Option<String> {
    let environment = match asked.cloud {
        Cloud::Global => "",
        Cloud::GccHigh => " -Environment USGov",
        Cloud::Dod => " -Environment USGovDoD",
        Cloud::China => " -Environment China",
        Cloud::Personal | Cloud::Custom => return None,
    };
    let delegated = asked.grant.is_delegated();
    let names: Vec<&str> = asked.protocols.iter().map(|protocol| permission(*protocol, delegated)).collect();
    let listed = names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let mut lines = vec![
        "Install-Module Microsoft.Graph.Applications, Microsoft.Graph.Identity.SignIns    # once on this machine"
            .to_owned(),
    ];
    let consent =
        if delegated { "'DelegatedPermissionGrant.ReadWrite.All'" } else { "'AppRoleAssignment.ReadWrite.All'" };
    lines.push(format!("Connect-MgGraph{environment} -Scopes 'Application.ReadWrite.All', {consent}"));
    // Permissions of people stand under Microsoft Graph, those of applications under Exchange.
    let resource =
        if delegated { "00000003-0000-0000-c000-000000000000" } else { "00000002-0000-0ff1-ce00-000000000000" };
    lines.push(format!("$Resource = Get-MgServicePrincipal -Filter \"appId eq '{resource}'\""));
    let (has, kind) = if delegated { ("Oauth2PermissionScopes", "Scope") } else { ("AppRoles", "Role") };
    let listed = if delegated { format!("{listed}, 'offline_access'") } else { listed };
    lines.push(format!("$Wanted = @($Resource.{has} | Where-Object {{ $_.Value -in {listed} }})"));
    lines.push(format!(
        "$Access = @{{ ResourceAppId = $Resource.AppId; ResourceAccess = @($Wanted | ForEach-Object {{ @{{ Id = $_.Id; Type = '{kind}' }} }}) }}"
    ));
    let mut made = "$Application = New-MgApplication -DisplayName 'Postern' -SignInAudience 'AzureADMyOrg' -RequiredResourceAccess $Access".to_owned();
    if delegated {
        made.push_str(" -IsFallbackPublicClient -PublicClient @{ RedirectUris = @('http://localhost') }");
    }
    if let Proof::Certificate(certificate) = asked.proof {
        let file = quoted(&certificate.certificate.display().to_string());
        lines.push(format!(
            "$Certificate = [System.Security.Cryptography.X509Certificates.X509Certificate2]::new({file})    # or where you have copied it"
        ));
        made.push_str(
            " -KeyCredentials @(@{ Type = 'AsymmetricX509Cert'; Usage = 'Verify'; Key = $Certificate.RawData })",
        );
    }
    lines.push(made);
    if matches!(asked.proof, Proof::Secret) {
        lines.push(
            "(Add-MgApplicationPassword -ApplicationId $Application.Id -PasswordCredential @{ DisplayName = 'Postern' }).SecretText    # shown this once"
                .to_owned(),
        );
    }
    lines.push("$Principal = New-MgServicePrincipal -AppId $Application.AppId".to_owned());
    lines.push(if delegated {
        let scope = quoted(&format!("{} offline_access", names.join(" ")));
        format!(
            "New-MgOauth2PermissionGrant -ClientId $Principal.Id -ConsentType 'AllPrincipals' -ResourceId $Resource.Id -Scope {scope}"
        )
    } else {
        "$Wanted | ForEach-Object { New-MgServicePrincipalAppRoleAssignment -ServicePrincipalId $Principal.Id -PrincipalId $Principal.Id -ResourceId \
         $Resource.Id -AppRoleId $_.Id }"
            .to_owned()
    });
    lines.push(
        "\"client ID $($Application.AppId), tenant ID $((Get-MgContext).TenantId), object ID $($Principal.Id)\""
            .to_owned(),
    );
    let undo = "And back: Remove-MgApplication -ApplicationId $Application.Id";
    let commands: String = lines.iter().map(|line| format!("\n     {line}")).collect();
    Some(format!(
        "Or all of that in Microsoft Graph PowerShell [not confirmed: written from the reference of Microsoft]:{commands}\n  {undo}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::ops::setup::{ApplicationCertificate, Kept};
    use crate::base::Protocol;
    use crate::config::Grant;

    #[test]
    fn an_application_and_one_for_people_are_registered_with_what_they_need() {
        let certificate = ApplicationCertificate {
            certificate: "/etc/postern/o'neil.pem".into(),
            key: "/etc/postern/o'neil.key".into(),
            sha1: String::new(),
            sha256: String::new(),
            expires_at: chrono::DateTime::UNIX_EPOCH,
            kept: Kept::Made,
        };
        let asked = Registration {
            cloud: Cloud::Global,
            grant: Grant::ClientCredentials,
            protocols: &[Protocol::Smtp, Protocol::Imap],
            proof: Proof::Certificate(&certificate),
        };
        let application = by_powershell(&asked).unwrap();
        for part in [
            "Connect-MgGraph -Scopes 'Application.ReadWrite.All', 'AppRoleAssignment.ReadWrite.All'",
            "-in 'SMTP.SendAsApp', 'IMAP.AccessAsApp' })",
            "X509Certificate2]::new('/etc/postern/o''neil.pem')",
            "-KeyCredentials @(@{ Type = 'AsymmetricX509Cert'",
            "New-MgServicePrincipalAppRoleAssignment",
            "Remove-MgApplication",
        ] {
            assert!(application.contains(part), "{part}\n{application}");
        }
        assert!(!application.contains(".key") && !application.contains("PublicClient"), "{application}");
        let people = Registration { cloud: Cloud::China, grant: Grant::DeviceCode, proof: Proof::None, ..asked };
        let people = by_powershell(&people).unwrap();
        for part in [
            "Connect-MgGraph -Environment China ",
            "-IsFallbackPublicClient -PublicClient @{ RedirectUris = @('http://localhost') }",
            "-Scope 'SMTP.Send IMAP.AccessAsUser.All offline_access'",
        ] {
            assert!(people.contains(part), "{part}\n{people}");
        }
        assert!(!people.contains("AppRole") && !people.contains("Certificate"), "{people}");
        let secret = by_powershell(&Registration { proof: Proof::Secret, ..asked }).unwrap();
        assert!(secret.contains("Add-MgApplicationPassword") && !secret.contains("KeyCredentials"), "{secret}");
        for cloud in [Cloud::Personal, Cloud::Custom] {
            assert_eq!(by_powershell(&Registration { cloud, ..asked }), None);
        }
        // What opens closes, on each line.
        for text in [&application, &people, &secret] {
            for line in text.lines() {
                let code: String = line.split('\'').step_by(2).collect();
                for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
                    assert_eq!(code.matches(open).count(), code.matches(close).count(), "{line}");
                }
            }
        }
    }
}
