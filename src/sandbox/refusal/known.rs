//! The numbers that administrators meet, with the class and the words that Entra ID gives them.

/// Number, HTTP status, `error`, `suberror`, text.
pub(super) type Known = (u32, u16, &'static str, Option<&'static str>, &'static str);

macro_rules! known {
    ($($code:literal $status:literal $error:literal $suberror:expr, $text:literal;)*) => {
        /// All of them.
        pub(super) const KNOWN: &[Known] = &[$(($code, $status, $error, $suberror, $text),)*];
    };
}

known! {
    1002012 400 "invalid_scope" None, "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).";
    50001 400 "invalid_resource" None, "The resource is disabled or does not exist.";
    500011 400 "invalid_resource" None, "The resource principal was not found in the tenant.";
    50011 400 "invalid_request" None, "The redirect URI specified in the request does not match the redirect URIs configured for the application.";
    500112 401 "invalid_client" None, "The reply address does not match the reply address provided when requesting Authorization code.";
    50012 401 "invalid_client" None, "Authentication failed.";
    50013 401 "invalid_client" None, "Assertion is invalid because of various reasons.";
    50014 400 "invalid_grant" None, "Guest user has not been added to the tenant.";
    50020 400 "invalid_grant" None, "User account from identity provider does not exist in tenant and cannot access the application in that tenant.";
    50027 401 "invalid_client" None, "JWT token is invalid or malformed.";
    5002738 401 "invalid_client" None, "Invalid JWT token. It has no supported signature algorithm. Supported signing algorithms are: 'RS256, PS256'";
    50033 503 "temporarily_unavailable" None, "A retryable error has occurred.";
    50034 400 "invalid_grant" None, "The user account does not exist in the directory.";
    50053 400 "invalid_grant" None, "The account is locked, you've tried to sign in too many times with an incorrect user ID or password.";
    50055 400 "invalid_grant" None, "The password is expired.";
    50057 400 "invalid_grant" None, "The user account is disabled.";
    50058 400 "login_required" None, "Session information is not sufficient for single-sign-on. A silent sign-in request was sent but no user is signed in.";
    50059 400 "invalid_request" None, "No tenant-identifying information found in either the request or implied by any provided credentials.";
    50072 400 "interaction_required" Some("basic_action"), "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication.";
    50074 400 "interaction_required" Some("basic_action"), "Strong Authentication is required.";
    50076 400 "interaction_required" Some("basic_action"), "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the resource.";
    50078 400 "interaction_required" Some("basic_action"), "Presented multi-factor authentication has expired due to policies configured by your administrator, you must refresh your multi-factor authentication.";
    50079 400 "interaction_required" Some("basic_action"), "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication.";
    50087 503 "temporarily_unavailable" None, "A transient error has occurred during strong authentication. Please try again.";
    50089 400 "invalid_grant" None, "Authentication failed due to flow token expired.";
    50097 400 "interaction_required" None, "Device authentication is required.";
    50105 400 "access_denied" None, "Your administrator has configured the application to block users unless they are specifically granted access to the application.";
    50126 400 "invalid_grant" None, "Error validating credentials due to invalid username or password.";
    50131 400 "access_denied" None, "Device is not in required device state.";
    50132 400 "invalid_grant" None, "The session is not valid due to password expiration or recent password change.";
    50133 400 "invalid_grant" None, "Session is invalid due to expiration or recent password change.";
    50144 400 "invalid_grant" None, "The user's Active Directory password has expired.";
    501481 400 "invalid_grant" None, "The Code_Verifier does not match the code_challenge supplied in the authorization request.";
    501491 400 "invalid_request" None, "Invalid size of Code_Challenge parameter.";
    50158 400 "interaction_required" None, "External security challenge was not satisfied.";
    50173 400 "invalid_grant" Some("token_expired"), "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password.";
    50194 400 "invalid_request" None, "The application is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps created after '10/15/2018'.";
    50196 400 "invalid_request" None, "The server terminated an operation because it encountered a client request loop.";
    53000 400 "interaction_required" None, "Device is not in required device state: compliant.";
    53001 400 "interaction_required" None, "Device is not in required device state: domain joined.";
    53002 400 "interaction_required" None, "Application used is not an approved application for conditional access.";
    53003 400 "interaction_required" Some("message_only"), "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.";
    530032 400 "access_denied" None, "Blocked by security policy.";
    530035 400 "access_denied" None, "Access has been blocked by security defaults.";
    53011 400 "interaction_required" None, "User blocked due to risk on home tenant.";
    54005 400 "invalid_grant" None, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.";
    65001 400 "invalid_grant" Some("consent_required"), "The user or administrator has not consented to use the application. Send an interactive authorization request for this user and resource.";
    65002 400 "invalid_client" None, "Consent between first party application and first party resource must be configured via preauthorization.";
    65004 400 "access_denied" None, "User declined to consent to access the app.";
    65005 400 "invalid_resource" None, "The application required resource access list does not contain applications discoverable by the resource.";
    650053 400 "invalid_client" None, "The application asked for a scope that doesn't exist on the resource. Contact the app vendor.";
    650056 400 "invalid_client" None, "Misconfigured application.";
    650057 400 "invalid_resource" None, "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the client's application registration.";
    70000 400 "invalid_grant" None, "Provided grant is invalid or malformed.";
    70001 400 "unauthorized_client" None, "The application is disabled or was not found in the directory.";
    700011 400 "unauthorized_client" None, "Application was not found in the directory.";
    7000112 400 "unauthorized_client" None, "Application is disabled.";
    700016 400 "unauthorized_client" None, "Application was not found in the directory. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.";
    70002 401 "invalid_client" None, "Error validating credentials.";
    700021 401 "invalid_client" None, "Client assertion application identifier doesn't match 'client_id' parameter.";
    7000215 401 "invalid_client" None, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app.";
    7000218 401 "invalid_client" None, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
    700022 400 "invalid_scope" None, "The provided value for the input parameter scope is not valid because it contains more than one resource.";
    7000222 401 "invalid_client" None, "The provided client secret keys for app are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.";
    700023 401 "invalid_client" None, "Client assertion audience claim does not match Realm issuer.";
    700024 401 "invalid_client" None, "Client assertion is not within its valid time range.";
    700025 401 "invalid_client" None, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.";
    700027 401 "invalid_client" None, "Client assertion failed signature validation.";
    70003 400 "unsupported_grant_type" None, "The app requested an unsupported grant type.";
    700054 400 "unsupported_response_type" None, "The response_type asked for is not enabled for the application.";
    70007 400 "invalid_request" None, "The returned unsupported value for response_mode when requesting a token.";
    70008 400 "invalid_grant" Some("token_expired"), "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.";
    700082 400 "invalid_grant" Some("token_expired"), "The refresh token has expired due to inactivity. The token was inactive for 90.00:00:00.";
    700084 400 "invalid_grant" Some("token_expired"), "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which cannot be extended.";
    70011 400 "invalid_scope" None, "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid.";
    70016 400 "authorization_pending" None, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.";
    70018 400 "bad_verification_code" None, "Invalid verification code due to user typing in wrong user code for device code flow.";
    70019 400 "expired_token" None, "Verification code expired.";
    70021 401 "unauthorized_client" None, "No matching federated identity record found for presented assertion.";
    700211 401 "invalid_client" None, "No matching federated identity record found for presented assertion issuer.";
    700212 401 "invalid_client" None, "No matching federated identity record found for presented assertion audience.";
    700213 401 "invalid_client" None, "No matching federated identity record found for presented assertion subject.";
    70043 400 "invalid_grant" Some("bad_token"), "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access.";
    90002 400 "invalid_request" None, "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.";
    9000411 400 "invalid_request" None, "The request is not properly formatted. A parameter is duplicated.";
    90006 503 "temporarily_unavailable" None, "The service is temporarily unavailable. Please retry later.";
    9001023 400 "invalid_request" None, "The grant type 'client_credentials' is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint.";
    90012 503 "temporarily_unavailable" None, "The request timed out.";
    90014 400 "invalid_request" None, "The required field is missing from the credential.";
    900144 400 "invalid_request" None, "The request body must contain the following parameter.";
    90019 400 "invalid_request" None, "No tenant-identifying information found in either the request or implied by any provided credentials.";
    9002313 400 "invalid_request" None, "Invalid request. Request is malformed or invalid.";
    90024 503 "temporarily_unavailable" None, "A transient error has occurred. Please try again.";
    90033 503 "temporarily_unavailable" None, "A transient error has occurred. Please try again.";
    90055 429 "temporarily_unavailable" None, "The tenant is throttled because of too many incoming requests.";
    90072 400 "invalid_grant" None, "The external user account does not exist in the tenant.";
    90090 503 "temporarily_unavailable" None, "A transient error has occurred. Please try again.";
    90094 400 "access_denied" None, "Admin consent is required for the permissions requested by this application.";
    900971 400 "invalid_request" None, "No reply address provided.";
}
