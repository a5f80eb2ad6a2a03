//! What servers answer: each reply of the protocol, read by the code that reads it in earnest, and the JSON door by
//! itself.
//!
//! The first byte of an input says which reply and whether it is known to be whole, the second its status and index;
//! the rest is the body. Of a reply to the exchange, the ID token's claims may come first, up to a zero byte. In a
//! body, `@OWN@` stands for the secret that was sent with the request, `@OWN-U@` for the same with its first character
//! escaped, `@API@` and `@JWT@` for tokens of others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::shown::{check_error, unguessable};
use crate::claims::Claims;
use crate::env::Env;
use crate::error::{Error, Kind};
use crate::explain::causes::explain_refusal;
use crate::explain::expiry;
use crate::explain::job::Job;
use crate::explain::published::Published;
use crate::identity::{self, github, google};
use crate::index::Index;
use crate::index_api::{self, MintReply};
use crate::json::Object;
use crate::net::http::{Http, HttpResult, Reply};
use crate::net::http_error::HttpError;
use crate::net::proxy::Proxies;
use crate::net::url::Url;
use crate::os::deadline::Deadline;
use crate::os::log::Log;
use crate::secret::{IdToken, RequestToken, UnusableToken};

const STATUSES: [u16; 16] = [200, 422, 400, 401, 403, 404, 408, 429, 500, 503, 202, 204, 302, 301, 101, 599];
const INDEXES: [&str; 3] = ["pypi", "testpypi", "https://index.example:8443/upload"];
const NOW: u64 = 1_790_000_000;

const GITHUB_CLAIMS: &str = r#"{"iss": "https://token.actions.githubusercontent.com", "aud": "pypi", "exp": 1790000300,
"repository": "octo-org/octo-repo", "repository_owner": "octo-org", "repository_owner_id": "65", "run_number": "7",
"job_workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/tags/v1", "environment": "pypi"}"#;

pub fn fuzz(input: &[u8]) {
    let [endpoint, status, rest @ ..] = input else { return };
    let index = INDEXES[usize::from(status >> 4) % INDEXES.len()];
    let index = Index::parse(index).unwrap();
    let status = STATUSES[usize::from(status % 16)];
    let server = Url::parse("https://server.example/").unwrap();
    let secrets = Secrets::of(input);
    let reply = |own: &str| reply(0, status, secrets.planted(rest, own));
    let own = &secrets.own;
    match endpoint % 8 {
        0 => audience(&index, &reply(""), &secrets),
        1 => mint(&index, *endpoint, status, rest, &secrets),
        2 => {
            check(index_api::read_revoked(&index, &reply(&secrets.api), &secrets.api), &secrets);
        }
        3 => {
            let read = github::read_id_token(&reply(own), &server, &RequestToken::new(own).unwrap());
            check_id_token(read, &reply(own), "value", &secrets);
        }
        4 => {
            let reply = reply("");
            if let Some(token) = check(google::read_access_token(&reply), &secrets) {
                assert_eq!(member(&reply, "access_token"), token.reveal());
                assert!(token.reveal().bytes().all(|b| b.is_ascii_graphic()));
            }
        }
        5 => {
            let read = google::read_generated(&reply(own), &RequestToken::new(own).unwrap());
            check_id_token(read, &reply(own), "token", &secrets);
        }
        6 => {
            let reply = reply("");
            if let Some(id_token) = check(google::read_id_token(&reply), &secrets) {
                assert_eq!(String::from_utf8_lossy(&reply.as_ref().ok().unwrap().body).trim(), id_token.reveal());
            }
        }
        _ => door(rest),
    }
}

/// A reply that may be cut off, or is, as the first byte of an input has it.
fn reply(endpoint: u8, status: u16, body: Vec<u8>) -> HttpResult {
    if endpoint & 0x80 != 0 {
        return Err(HttpError::cut_off().with_partial_body(status, body));
    }
    Ok(Reply { status, body, retry_after: None, is_surely_whole: endpoint & 0x40 == 0 })
}

/// What no text may hold.
struct Secrets {
    /// Sent with the request, or the signature of what was.
    own: String,
    api: String,
    jwt: String,
}

impl Secrets {
    fn of(input: &[u8]) -> Secrets {
        let core = unguessable(input);
        Secrets {
            own: format!("ghs_{core}"),
            api: format!("pypi-Ag{core}"),
            jwt: format!("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJvY3RvIn0.{core}"),
        }
    }

    /// A body with secrets in it; `own` was sent with the request, if anything was. Of others', a JSON Web Token is
    /// recognised where a word begins.
    fn planted(&self, body: &[u8], own: &str) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(body) else { return body.to_owned() };
        let escaped = own.chars().next().map(|c| format!("\\u{:04x}{}", u32::from(c), &own[1..]));
        let text = text.replace("@OWN@", own).replace("@OWN-U@", &escaped.unwrap_or_default());
        let text = text.replace("@API@", &self.api).replace("@JWT@", &format!(" {}", self.jwt));
        text.into_bytes()
    }
}

/// What was read, or `None` after a look at the error.
fn check<T>(read: Result<T, Error>, Secrets { own, api, jwt }: &Secrets) -> Option<T> {
    read.map_err(|error| check_error(&error, &[own, api, jwt])).ok()
}

/// A text that was read, as another decoder sees it.
fn member(reply: &HttpResult, name: &str) -> String {
    let value: Value = serde_json::from_slice(&reply.as_ref().ok().unwrap().body).unwrap();
    value[name].as_str().unwrap().to_owned()
}

fn check_id_token(read: Result<IdToken, Error>, reply: &HttpResult, name: &str, secrets: &Secrets) {
    if let Some(id_token) = check(read, secrets) {
        assert_eq!(member(reply, name), id_token.reveal());
    }
}

/// The audience, and what is said where GitLab has no ID token for it.
fn audience(index: &Index, reply: &HttpResult, secrets: &Secrets) {
    let Some(audience) = check(index_api::read_audience(index, reply), secrets) else { return };
    assert_eq!(member(reply, "audience"), audience);
    let env: Env = [("GITLAB_CI".into(), "true".into())].into_iter().collect();
    let identity = identity::recognise(None, &env).unwrap();
    let http = Http::new(Deadline::after(std::time::Duration::ZERO), Log::Quiet, Proxies::of(&env).unwrap());
    check(identity.id_token(&audience, &env, &http), secrets);
    let url = Url::parse("https://server.example/?a=b").unwrap().with_parameter("audience", &audience).to_string();
    assert!(url.bytes().all(|b| b.is_ascii_graphic()));
}

fn mint(index: &Index, endpoint: u8, status: u16, rest: &[u8], secrets: &Secrets) {
    let (claims, body) = match rest.iter().position(|b| *b == 0) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (GITHUB_CLAIMS.as_bytes(), rest),
    };
    let signature = &secrets.own;
    let id_token = format!("eyJhbGciOiJSUzI1NiJ9.{}.{signature}", URL_SAFE_NO_PAD.encode(claims));
    let Ok(id_token) = IdToken::new(id_token) else { return };
    let body = secrets.planted(body, id_token.reveal());
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    let MintReply { unusable, minted } =
        index_api::read_minted(index, &reply(endpoint, status, body.clone()), &id_token);
    check_unusable(&unusable, &body, &value, &id_token, minted.is_err() && (200..300).contains(&status));
    let minted = minted.map_err(|mut error| {
        if let (Kind::Refused, Some(claims)) = (error.kind, Claims::of(&id_token)) {
            let projects: Vec<String> =
                status.is_multiple_of(2).then(|| "octo-project".to_owned()).into_iter().collect();
            let env: Env = [("GITHUB_WORKSPACE".into(), "/nonexistent".into())].into_iter().collect();
            let job = Job::of(claims, index, &env);
            let job = Job { audience: index.known_audience(), projects, now_unix_secs: NOW, ..job };
            explain_refusal(&mut error.explanation, job, |_| Published::NoRelease);
        }
        error
    });
    let Some(minted) = check(minted, secrets) else { return };
    assert_eq!(value["token"], minted.token.reveal());
    assert_eq!(value["expires"].as_u64().filter(|_| !minted.has_bad_expiry), minted.expires_unix_secs);
    let line = expiry::describe(minted.expires_unix_secs.unwrap_or_default(), NOW);
    assert!(line.is_ascii() && line.len() < 100, "{line:?}");
}

/// No API token is lost in a reply that can't be used, and the ID token is not taken for one.
fn check_unusable(unusable: &[UnusableToken], body: &[u8], value: &Value, id_token: &IdToken, may_be_some: bool) {
    let unusable: Vec<&str> = unusable.iter().map(UnusableToken::reveal).collect();
    assert!(unusable.len() <= 4 && !unusable.contains(&"") && !unusable.contains(&id_token.reveal()));
    assert!(may_be_some || unusable.is_empty());
    // An escaped key is not looked for, and of too many tokens the first ones count.
    let text = String::from_utf8_lossy(body);
    if let Some(token) = value["token"].as_str().filter(|token| !token.is_empty() && *token != id_token.reveal())
        && may_be_some
        && !text.contains('\\')
        && text.matches("\"token\"").count() <= 4
    {
        assert!(unusable.contains(&token));
    }
}

/// The door lets through what another decoder takes, with the same meaning, and nothing else. It is stricter in two
/// things: depth, and equal keys.
fn door(bytes: &[u8]) {
    let other = serde_json::from_slice::<Value>(bytes);
    match (Object::read(bytes), &other) {
        (Ok(ours), Ok(Value::Object(theirs))) => {
            assert!(ours.iter().map(|(key, _)| key).eq(theirs.keys().map(String::as_str)));
            for (key, value) in theirs {
                assert_eq!(serde_json::from_str::<Value>(ours.json(key).unwrap()).unwrap(), *value);
                assert_eq!(ours.get::<String>(key).ok().as_deref(), value.as_str());
                assert_eq!(ours.object(key).is_some(), value.is_object());
                let objects = value.as_array().map_or(0, |elements| elements.iter().filter(|e| e.is_object()).count());
                assert_eq!(ours.objects(key).len(), objects);
                let number = ours.get::<u64>(key).ok();
                assert!(number.is_none() || number == value.as_u64());
            }
        }
        (Err(error), _) if error.fault.contains("nested") || error.fault.contains("key twice") => {}
        (Err(error), Ok(value)) => assert!(!error.is_malformed && !value.is_object()),
        (Err(_), Err(_)) => {}
        (ours, other) => panic!("{:?} but {other:?}", ours.map(drop)),
    }
}
