//! GitHub's ID token endpoint: real JSON Web Tokens, signed with a key made at start.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::http::{Request, Response};
use super::{random_hex, refuse_without_user_agent};

pub const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// What GitHub's claims say of the job.
#[derive(Clone)]
pub struct Job {
    pub owner: String,
    pub owner_id: String,
    pub repository: String,
    /// The file of the top-level workflow.
    pub workflow: String,
    /// `OWNER/REPO/.github/workflows/FILE` of a reusable workflow, if the job is in one that `workflow` calls.
    pub called_workflow: Option<String>,
    pub environment: Option<String>,
    pub event_name: String,
    /// Seconds from now until its ID tokens expire. If negative, they have expired.
    pub lives_secs: i64,
}

impl Default for Job {
    fn default() -> Job {
        Job {
            owner: "octo-org".to_owned(),
            owner_id: "65432100".to_owned(),
            repository: "octo-repo".to_owned(),
            workflow: "release.yml".to_owned(),
            called_workflow: None,
            environment: Some("pypi".to_owned()),
            event_name: "push".to_owned(),
            lives_secs: 300,
        }
    }
}

impl Job {
    pub fn claims(&self, audience: &str) -> Value {
        let repository = format!("{}/{}", self.owner, self.repository);
        let workflow = format!("{repository}/.github/workflows/{}", self.workflow);
        let git_ref = "refs/tags/v1.0.0";
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let mut claims = json!({
            "iss": ISSUER,
            "aud": audience,
            "sub": format!("repo:{repository}:ref:{git_ref}"),
            "jti": random_hex(16),
            "iat": now,
            "nbf": now - 600,
            "exp": now + self.lives_secs,
            "repository": repository,
            "repository_id": "74",
            "repository_owner": self.owner,
            "repository_owner_id": self.owner_id,
            "repository_visibility": "public",
            "workflow": "Release",
            "workflow_ref": format!("{workflow}@{git_ref}"),
            "job_workflow_ref": format!("{}@{git_ref}", self.called_workflow.as_ref().unwrap_or(&workflow)),
            "event_name": self.event_name,
            "ref": git_ref,
            "ref_type": "tag",
            "sha": "0123456789abcdef0123456789abcdef01234567",
            "actor": "octocat",
            "run_id": "1",
            "run_attempt": "1",
            "runner_environment": "github-hosted",
        });
        if let Some(environment) = &self.environment {
            claims["environment"] = json!(environment);
            claims["sub"] = json!(format!("repo:{repository}:environment:{environment}"));
        }
        claims
    }
}

/// The issuer's key.
pub struct Signer {
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl Signer {
    /// A new RSA key, as GitHub signs with RS256.
    pub fn new() -> Signer {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        Signer {
            signing: EncodingKey::from_rsa_pem(key.serialize_pem().as_bytes()).unwrap(),
            verifying: DecodingKey::from_rsa_pem(key.public_key_pem().as_bytes()).unwrap(),
        }
    }

    /// The claims of an ID token, if its signature, issuer, audience and times are valid.
    pub fn verify(&self, id_token: &str, audience: &str) -> Option<Value> {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[audience]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "nbf"]);
        validation.validate_nbf = true;
        validation.leeway = 30;
        Some(jsonwebtoken::decode(id_token, &self.verifying, &validation).ok()?.claims)
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some("stand-in".to_owned()), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap()
    }
}

/// Answers one request as GitHub's endpoint does.
pub fn answer(
    request: &Request,
    job: &Job,
    signer: &Signer,
    request_token: &str,
    id_tokens: &Mutex<Vec<String>>,
) -> Response {
    if let Some(refusal) = refuse_without_user_agent(request) {
        return refusal;
    }
    if request.method != "GET" || request.path() != "/idtoken/77" {
        return Response::text(404, "Not Found");
    }
    // The scheme is case-insensitive (RFC 9110, section 11.1).
    let authorization = request.header("Authorization").and_then(|value| value.split_once(' '));
    if !authorization.is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token == request_token) {
        return Response::json(401, &json!({"message": "Unauthorized"}));
    }
    if request.parameter("api-version").as_deref() != Some("2.0") {
        return Response::json(400, &json!({"message": "No api-version was given"}));
    }
    let audience = request.parameter("audience").unwrap_or_else(|| format!("https://github.com/{}", job.owner));
    let id_token = signer.sign(&job.claims(&audience));
    id_tokens.lock().unwrap().push(id_token.clone());
    Response::json(200, &json!({"count": id_token.len(), "value": id_token}))
}
