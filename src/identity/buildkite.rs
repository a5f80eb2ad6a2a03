//! Buildkite: `buildkite-agent oidc request-token --audience AUD` prints an ID token (Buildkite Docs, "OIDC in Buildkite
//! Pipelines").

use super::helper::Helper;
use super::{Provider, Source};

pub const PROVIDER: Provider = Provider {
    name: NAME,
    detected_by: "BUILDKITE=true",
    find: |env| Ok(env.is_true("BUILDKITE").then_some(Source::Helper(HELPER))),
    variables: |_| ["BUILDKITE_AGENT_ACCESS_TOKEN"].map(str::to_owned).to_vec(),
};

const NAME: &str = "Buildkite";

const HELPER: Helper = Helper {
    provider: NAME,
    program: "buildkite-agent",
    arguments: |audience| ["oidc", "request-token", "--audience", audience].map(str::to_owned).to_vec(),
};
