//! Microsoft Graph as a way for mail: its token, what that allows, and whether Graph lets it in.

use std::time::Duration;

use crate::admin::ops::doctor::login::Patient;
use crate::admin::ops::doctor::network::Ways;
use crate::admin::ops::doctor::step::{Check, Outcome, StepState};
use crate::auth::Permit;
use crate::base::{Fault, Protocol, Whose};
use crate::broker::{AccessToken, Claims};
use crate::config::Route;
use crate::upstream::graph::GraphError;

/// A token with less life than this from the start is of little use.
const SHORT_LIFE: Duration = Duration::from_secs(60);

/// What sending by Graph wants, of an application and of a person.
const PERMISSION: &str = "Mail.Send";

/// Graph can be reached, and lets a token in.
pub(in crate::admin::ops::doctor) struct LetIn {
    pub(in crate::admin::ops::doctor) token: AccessToken,
    /// Whether the token says that it may send. What is given in Exchange does not stand in it.
    is_permitted: bool,
}

impl LetIn {
    /// Why a way by SMTP that fails is no more than a warning, if it is.
    pub(in crate::admin::ops::doctor) fn softens(&self, routes: &[Route]) -> Option<&'static str> {
        let words = match routes.first() {
            Some(Route::Smtp) => "mail may go by Graph meanwhile, but for app passwords with `--delivery direct`",
            _ => "mail may go by Graph meanwhile",
        };
        self.is_permitted.then_some(words)
    }
}

impl Patient<'_> {
    /// Looks at Graph, where mail may go by it.
    pub(in crate::admin::ops::doctor) async fn graph(&self, ways: &Ways) -> Option<LetIn> {
        if !self.tenant.routes.contains(&Route::Graph) {
            return None;
        }
        if !ways.token_service {
            self.teller.skip(Check::GraphToken, None, "there is no way to the token service");
            return None;
        }
        let Some(token) = self.teller.run(Check::GraphToken, None, self.graph_token()).await else {
            self.teller.skip(Check::Graph, None, "there is no token");
            return None;
        };
        let mut is_permitted = false;
        let delegated = self.tenant.grants.of(Protocol::Smtp).is_delegated();
        if let Some(claims) = token.claims() {
            let (state, said, remedy) = permission(&claims, delegated);
            is_permitted = state == StepState::Ok;
            self.teller.tell(Check::GraphPermission, None, state, said.clone(), remedy);
            if state == StepState::Failed {
                self.teller.skip(Check::Graph, None, &said);
                return None;
            }
        }
        let knock = async {
            match self.doctor.upstream.knock_at_graph(&self.permit_to_send(), &token).await {
                Ok(said) => Outcome::ok(
                    format!(
                        "reached, and lets the token in (whether it may send as the mailbox shows for certain only when it does: \
                         --send-test); an empty request was refused: {said}"
                    ),
                    (),
                ),
                Err(error) => Outcome::failed(error.to_string(), remedy(&error)),
            }
        };
        self.teller.run(Check::Graph, None, knock).await.map(|()| LetIn { token, is_permitted })
    }

    fn permit_to_send(&self) -> Permit {
        Permit::for_upkeep(self.record, Protocol::Smtp)
    }

    async fn graph_token(&self) -> Outcome<AccessToken> {
        match self.desk.broker.graph_token(&self.permit_to_send(), None).await {
            Ok(token) => {
                let left = token.life_left();
                let whose = match token.account() {
                    Some(account) => format!("by the sign-in of {account}"),
                    None => "the application's own".to_owned(),
                };
                let said = format!("{whose}, good for {} min", left.as_secs().div_ceil(60));
                match left < SHORT_LIFE {
                    true => Outcome::warning(said, "Look for a token lifetime policy in Entra ID.", token),
                    false => Outcome::ok(said, token),
                }
            }
            Err(error) => Outcome::failed(error.to_string(), self.token_remedy(&error)),
        }
    }
}

/// What to do about a refusal of Graph.
pub(in crate::admin::ops::doctor) fn remedy(error: &GraphError) -> Option<String> {
    error.remedy().or_else(|| {
        (error.whose() == Whose::Nobody).then(|| {
            "It should pass by itself. If it lasts: Microsoft 365 admin centre, Health, Service health; and check `graph` under \
             [tenant.endpoints] if the configuration has one."
                .to_owned()
        })
    })
}

/// What a token for Graph says of the permission.
fn permission(claims: &Claims, delegated: bool) -> (StepState, String, Option<String>) {
    let has = match delegated {
        true => claims.scp.iter().flat_map(|scp| scp.split(' ')).any(|one| one == PERMISSION),
        false => claims.roles.iter().any(|one| one == PERMISSION),
    };
    if has {
        let all = "for every mailbox of the tenant; `postern setup` writes the commands that give it for some (RBAC for Applications)";
        let said = if delegated { PERMISSION.to_owned() } else { format!("{PERMISSION}, {all}") };
        return (StepState::Ok, said, None);
    }
    let said = format!("the token does not have the permission {PERMISSION}");
    let kind = if delegated { "Delegated permissions" } else { "Application permissions" };
    let add = format!(
        "Entra admin centre, App registrations, your application, API permissions, Add a permission, Microsoft Graph, {kind}: {PERMISSION}; \
         then «Grant admin consent»."
    );
    if delegated {
        let again = "Then sign in again: `postern mailbox connect ADDRESS`.";
        (StepState::Failed, said, Some(format!("{add} {again}")))
    } else {
        // Given in Exchange it does not stand here.
        (StepState::Warning, said, Some(format!("With RBAC for Applications that is as it should be. Without: {add}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_permission_is_looked_for_where_it_stands() {
        let roles = |roles: &[&str]| Claims {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            scp: Some("SMTP.Send Mail.Send".to_owned()),
            ..Claims::default()
        };
        assert_eq!(permission(&roles(&["Mail.Send"]), false).0, StepState::Ok);
        assert_eq!(permission(&roles(&[]), true).0, StepState::Ok);
        let (state, _, remedy) = permission(&roles(&["SMTP.SendAsApp"]), false);
        assert_eq!(state, StepState::Warning, "it may be given in Exchange");
        assert!(remedy.unwrap().contains("Application permissions: Mail.Send"));
        let (state, _, remedy) = permission(&Claims::default(), true);
        assert_eq!(state, StepState::Failed);
        assert!(remedy.unwrap().contains("Delegated permissions: Mail.Send"));
    }
}
