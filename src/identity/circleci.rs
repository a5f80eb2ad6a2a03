//! CircleCI: `circleci run oidc get --root-issuer --claims '{"aud": "AUD"}'` prints an ID token (CircleCI Docs, "Using
//! OpenID Connect tokens in jobs").

use super::helper::Helper;
use super::{Provider, Source};
use crate::json;

pub const PROVIDER: Provider = Provider {
    name: NAME,
    detected_by: "CIRCLECI=true",
    find: |env| Ok(env.is_true("CIRCLECI").then_some(Source::Helper(HELPER))),
    variables: |_| ["CIRCLE_OIDC_TOKEN", "CIRCLE_OIDC_TOKEN_V2"].map(str::to_owned).to_vec(),
};

const NAME: &str = "CircleCI";

const HELPER: Helper = Helper {
    provider: NAME,
    program: "circleci",
    arguments: |audience| {
        let claims = format!("{{\"aud\": {}}}", json::quoted(audience));
        ["run", "oidc", "get", "--root-issuer", "--claims", &claims].map(str::to_owned).to_vec()
    },
};
