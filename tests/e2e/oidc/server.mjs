// A certified authorization server (the npm package oidc-provider) as the token service of Postern's tests.
//
//   CERTIFICATE=FILE TOKEN_SECONDS=4 node server.mjs
//
// It listens on a free port of 127.0.0.1 and prints one line of JSON when it is ready: {"issuer":"http://127.0.0.1:PORT"}. Every
// further line is one thing that it did, for the test to look at; no token, code or secret is in them.
//
// Only what stands around the server is of this file: the clients, who the people are, and the sign-in page, which asks nothing.
// The person at the browser is the one named by the header `Sign-In-As`, else by `login_hint`, else by the variable SIGN_IN_AS;
// `nobody` in that header is a person who says no.

import { X509Certificate, generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import Provider from "oidc-provider";

const TOKEN_SECONDS = Number(process.env.TOKEN_SECONDS ?? 4);
const PEOPLE = new Set(["alice@people.test", "bob@people.test", "alice@public.test", "alice@jwt.test", "bob@jwt.test"]);
// What the token service calls the application itself: a token of this name opens every mailbox of its domain.
const APPLICATIONS = {
  secret: "application@secret.test",
  ps256: "application@ps256.test",
  rs256: "application@rs256.test",
};
const RESOURCE = "https://mail.jwt.test";

function tell(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

function signingKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256" };
}

// As an administrator uploads it: the public half of the certificate.
const certificate = new X509Certificate(readFileSync(process.env.CERTIFICATE));
const jwks = { keys: [{ ...certificate.publicKey.export({ format: "jwk" }), use: "sig" }] };

const machine = { grant_types: ["client_credentials"], redirect_uris: [], response_types: [] };
const native = {
  application_type: "native",
  grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
  redirect_uris: ["http://localhost"],
  response_types: ["code"],
};
const byKey = { ...machine, token_endpoint_auth_method: "private_key_jwt", jwks };
const bySecret = { client_secret: "the client's secret & more=100%", token_endpoint_auth_method: "client_secret_post" };

const configuration = {
  clients: [
    { client_id: "secret", ...machine, ...bySecret },
    { client_id: "ps256", ...byKey, token_endpoint_auth_signing_alg: "PS256" },
    { client_id: "rs256", ...byKey, token_endpoint_auth_signing_alg: "RS256" },
    { client_id: "people", ...native, ...bySecret },
    { client_id: "public", ...native, token_endpoint_auth_method: "none" },
    { client_id: "jwt", ...native, token_endpoint_auth_method: "none" },
    // The mail server, which asks whether a token is good.
    { client_id: "dovecot", ...machine, client_secret: "dovecot", token_endpoint_auth_method: "client_secret_basic" },
  ],
  clientAuthMethods: ["client_secret_basic", "client_secret_post", "none", "private_key_jwt"],
  cookies: { keys: ["only for tests"] },
  enabledJWA: { clientAuthSigningAlgValues: ["PS256", "RS256"] },
  extraTokenClaims: (ctx, token) => ({ username: token.accountId ?? APPLICATIONS[token.clientId] }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    introspection: { enabled: true },
    // Its access tokens are opaque, except for this one client: those are JWTs and say whose they are.
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx, client) => (client.clientId === "jwt" ? RESOURCE : undefined),
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ accessTokenFormat: "jwt", scope: "mail", jwt: { sign: { alg: "RS256" } } }),
    },
  },
  findAccount: (ctx, id) => (PEOPLE.has(id) ? { accountId: id, claims: () => ({ sub: id }) } : undefined),
  formats: { customizers: { jwt: (ctx, token, parts) => void (parts.payload.preferred_username = token.accountId) } },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  jwks: { keys: [signingKey()] },
  rotateRefreshToken: true,
  scopes: ["mail", "application.mail", "offline_access", "openid"],
  ttl: {
    AccessToken: TOKEN_SECONDS,
    ClientCredentials: TOKEN_SECONDS,
    DeviceCode: 600,
    Grant: 3600,
    Interaction: 600,
    RefreshToken: 3600,
    Session: 600,
  },
};

// The port is part of the issuer's name, so the server comes first.
const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  const grants = new Map();
  const answer = provider.callback();
  watch(provider);
  server.on("request", async (request, response) => {
    const url = new URL(request.url, issuer);
    try {
      if (request.method === "GET" && url.pathname.startsWith("/interaction/")) {
        await signIn(provider, grants, request, response);
      } else if (request.method === "POST" && url.pathname === "/withdraw") {
        await withdraw(provider, grants, url.searchParams.get("account"));
        response.writeHead(204).end();
      } else {
        answer(request, response);
      }
    } catch (error) {
      tell("broken", { reason: String(error?.error_description ?? error) });
      response.writeHead(500).end();
    }
  });
  tell("ready", { issuer });
});

// The page that a person would see. One that signs in here consents to all that is asked for.
async function signIn(provider, grants, request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  const result = {};
  if (request.headers["sign-in-as"] === "nobody") {
    result.error = "access_denied";
    result.error_description = "the person did not consent";
  } else if (prompt.name === "login") {
    result.login = { accountId: request.headers["sign-in-as"] ?? params.login_hint ?? process.env.SIGN_IN_AS };
  } else {
    const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    const { missingOIDCScope, missingResourceScopes } = prompt.details;
    // `prompt=consent` names nothing as missing once it was consented to.
    grant.addOIDCScope((missingOIDCScope ?? params.scope.split(" ")).join(" "));
    for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
      grant.addResourceScope(resource, scopes.join(" "));
    }
    const grantId = await grant.save();
    grants.set(session.accountId, grantId);
    result.consent = { grantId };
  }
  tell("interaction", { prompt: prompt.name, account: result.login?.accountId ?? session?.accountId });
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
}

// What a person does on the page of the applications that have access: takes it away.
async function withdraw(provider, grants, account) {
  const grantId = grants.get(account);
  for (const model of [provider.RefreshToken, provider.AccessToken]) {
    await model.revokeByGrantId(grantId);
  }
  await (await provider.Grant.find(grantId))?.destroy();
  tell("withdrawn", { account });
}

// What was asked for and how the client proved itself.
function watch(provider) {
  const asked = ({ oidc }) => {
    const { client_assertion: assertion, grant_type: grant, scope } = oidc.params ?? {};
    const header = assertion && JSON.parse(Buffer.from(assertion.split(".")[0], "base64url"));
    return {
      client: oidc.client?.clientId ?? oidc.params?.client_id,
      grant,
      scope,
      algorithm: header?.alg,
      rotations: oidc.entities?.RefreshToken?.rotations,
      account: oidc.entities?.Account?.accountId,
    };
  };
  provider.on("grant.success", (ctx) => tell("granted", asked(ctx)));
  provider.on("grant.error", (ctx, error) => {
    // A device that still waits is no news.
    if (error.error !== "authorization_pending") {
      tell("refused", { ...asked(ctx), error: error.error, why: error.error_description, detail: error.error_detail });
    }
  });
  provider.on("grant.revoked", () => tell("revoked"));
  provider.on("authorization.error", (ctx, error) => tell("not-authorized", { why: error.message, detail: error.error_detail }));
  provider.on("introspection.error", (ctx, error) => tell("not-introspected", { why: error.message, detail: error.error_detail }));
  provider.on("server_error", (ctx, error) => tell("broken", { reason: error.stack }));
}
