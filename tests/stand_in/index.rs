//! A package index with trusted publishing. It answers as PyPI does, and accepts uploads with the tokens that it
//! minted.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::github::{ISSUER, Job, Signer};
use super::http::{Request, Response};
use super::{Setup, published, random_hex, refuse_without_user_agent};

/// How long an API token is valid.
const API_TOKEN_SECS: u64 = 900;

/// A trusted publisher: the four fields of the form, and the owner's ID at the time of its registration.
#[derive(Clone)]
pub struct Publisher {
    pub owner: String,
    pub owner_id: String,
    pub repository: String,
    pub workflow: String,
    pub environment: Option<String>,
}

#[derive(Default)]
pub struct IndexState {
    pub minted: Vec<String>,
    /// The tokens that were revoked, and the time of each revocation.
    pub revoked: Vec<(String, SystemTime)>,
    pub uploads: Vec<Upload>,
    spent_jtis: HashSet<String>,
}

/// An accepted file.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its name in the form's field `content`.
    pub file_name: String,
    pub token: String,
    pub user_agent: String,
    /// Its attestations, from the form's field `attestations`.
    pub attestations: Option<String>,
}

/// Code and description of a refusal.
type Refused = (&'static str, String);

impl Publisher {
    /// A publisher that this job matches.
    pub fn of(job: &Job) -> Publisher {
        Publisher {
            owner: job.owner.clone(),
            owner_id: job.owner_id.clone(),
            repository: job.repository.clone(),
            workflow: job.workflow.clone(),
            environment: job.environment.clone(),
        }
    }

    fn matches(&self, claims: &Value) -> bool {
        let claim = |name: &str| claims[name].as_str().unwrap_or_default();
        let repository = format!("{}/{}", self.owner, self.repository);
        let workflow = format!("{}/.github/workflows/{}@", claim("repository"), self.workflow);
        repository == claim("repository")
            && self.owner_id == claim("repository_owner_id")
            && [claim("ref"), claim("sha")].iter().any(|at| format!("{workflow}{at}") == claim("job_workflow_ref"))
            && self.environment.as_deref().is_none_or(|environment| environment == claim("environment").to_lowercase())
    }
}

/// Answers one request as the index does.
pub fn answer(request: &Request, setup: &Setup, signer: &Signer, state: &Mutex<IndexState>) -> Response {
    if let Some(refusal) = refuse_without_user_agent(request) {
        return refusal;
    }
    match (request.method.as_str(), request.path()) {
        ("GET", "/_/oidc/audience") if setup.enabled => Response::json(200, &json!({"audience": setup.audience})),
        ("GET", "/_/oidc/audience") => {
            Response::json(403, &json!({"message": "Trusted publishing functionality not enabled"}))
        }
        ("POST", "/_/oidc/mint-token") => match mint(request, setup, signer, state) {
            Ok(_) if state.lock().unwrap().minted.len() <= setup.lost_replies => Response::lost(),
            Ok(reply) => Response::json(200, &reply),
            Err((code, description)) => {
                let errors = json!([{"code": code, "description": description}]);
                Response::json(422, &json!({"message": "Token request failed", "errors": errors}))
            }
        },
        ("POST", "/_/oidc/burn-token") if setup.revocation_status == 202 => revoke(request, &mut state.lock().unwrap()),
        ("POST", "/_/oidc/burn-token") if setup.revocation_status != 404 => {
            Response::text(setup.revocation_status, "No.")
        }
        ("POST", "/legacy/") => match upload(request, &mut state.lock().unwrap()) {
            Some(()) => Response::text(200, ""),
            None => Response::text(403, "Invalid or non-existent authentication information."),
        },
        (_, "/_/oidc/audience" | "/_/oidc/mint-token") => Response::text(405, "Method Not Allowed"),
        _ => published::answer(request, setup.published.as_ref()).unwrap_or_else(|| Response {
            status: 404,
            content_type: "text/html",
            body: b"<!DOCTYPE html><h1>404</h1>".to_vec(),
        }),
    }
}

fn revoke(request: &Request, state: &mut IndexState) -> Response {
    let payload: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let token = payload["token"].as_str().unwrap_or_default();
    if !is_valid(token, state) {
        let errors = json!([{"code": "invalid-token", "description": "invalid token"}]);
        return Response::json(422, &json!({"message": "Token request failed", "errors": errors}));
    }
    state.revoked.push((token.to_owned(), SystemTime::now()));
    Response::json(202, &json!({"success": true}))
}

fn is_valid(token: &str, state: &IndexState) -> bool {
    state.minted.iter().any(|minted| minted == token) && !state.revoked.iter().any(|(revoked, _)| revoked == token)
}

/// Accepts a file, if the request has a valid token.
fn upload(request: &Request, state: &mut IndexState) -> Option<()> {
    let credentials = STANDARD.decode(request.header("Authorization")?.strip_prefix("Basic ")?).ok()?;
    let credentials = String::from_utf8(credentials).ok()?;
    let token = credentials.strip_prefix("__token__:").filter(|token| is_valid(token, state))?;
    let body = String::from_utf8_lossy(&request.body);
    let file_name = body.split("filename=\"").nth(1)?.split('"').next()?.to_owned();
    let user_agent = request.header("User-Agent")?.to_owned();
    let attestations = body.split("name=\"attestations\"").nth(1).and_then(|rest| rest.split("\r\n--").next());
    let attestations = attestations.and_then(|part| Some(part.split_once("\r\n\r\n")?.1.to_owned()));
    state.uploads.push(Upload { file_name, token: token.to_owned(), user_agent, attestations });
    Some(())
}

fn mint(request: &Request, setup: &Setup, signer: &Signer, state: &Mutex<IndexState>) -> Result<Value, Refused> {
    std::thread::sleep(setup.mint_delay);
    let mut state = state.lock().unwrap();
    let payload: Value = serde_json::from_slice(&request.body)
        .map_err(|_| ("invalid-payload", "Input should be a valid JSON object".to_owned()))?;
    let Some(id_token) = payload["token"].as_str() else {
        return Err(("invalid-payload", "token: Field required".to_owned()));
    };
    let Ok(unverified) = jsonwebtoken::dangerous::insecure_decode::<Value>(id_token) else {
        return Err(("invalid-payload", "malformed JWT".to_owned()));
    };
    if unverified.claims["iss"] != ISSUER {
        return Err(("invalid-payload", "unknown trusted publishing issuer".to_owned()));
    }
    if !setup.enabled {
        return Err(("not-enabled", "GitHub trusted publishing functionality not enabled".to_owned()));
    }
    let Some(claims) = signer.verify(id_token, setup.audience) else {
        return Err(("invalid-token", "malformed or invalid token".to_owned()));
    };
    let no_publisher =
        |why: &str| ("invalid-publisher", format!("valid token, but no corresponding publisher ({why})"));
    if !setup.publisher.as_ref().is_some_and(|publisher| publisher.matches(&claims)) {
        return Err(no_publisher("Publisher with matching claims was not found"));
    }
    if claims["event_name"] == "pull_request_target" {
        return Err(no_publisher("Publishing from a workflow invoked via 'pull_request_target' is not supported."));
    }
    if !state.spent_jtis.insert(claims["jti"].as_str().unwrap_or_default().to_owned()) {
        return Err(("invalid-reuse-token", "invalid token: already used".to_owned()));
    }
    let token = format!("pypi-AgEI{}_-", random_hex(80));
    state.minted.push(token.clone());
    let mut reply = json!({"success": true, "token": token});
    if setup.tells_expiry {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        reply["expires"] = json!(now + API_TOKEN_SECS);
    }
    Ok(reply)
}
