//! CircleCI: `circleci run oidc get --root-issuer --claims '{"aud": "AUD"}'` prints an ID token (CircleCI Docs, "Using
//! OpenID Connect tokens in jobs").

use super::helper::Helper;
use super::{Source, System};
use crate::json;

pub const SYSTEM: System = System {
    name: NAME,
    sign: "CIRCLECI=true",
    find: |env| Ok(env.is_true("CIRCLECI").then(|| -> Box<dyn Source> { Box::new(HELPER) })),
    variables: |_| ["CIRCLE_OIDC_TOKEN", "CIRCLE_OIDC_TOKEN_V2"].map(str::to_owned).to_vec(),
};

const NAME: &str = "CircleCI";

const HELPER: Helper = Helper {
    system: NAME,
    program: "circleci",
    arguments: |audience| {
        let claims = format!("{{\"aud\": {}}}", json::quoted(audience));
        ["run", "oidc", "get", "--root-issuer", "--claims", &claims].map(str::to_owned).to_vec()
    },
};
