//! Google Cloud: the metadata server issues an ID token of the machine's service account. For another service account, it
//! issues an access token, and Google's IAM issues an ID token for that (Google Cloud Docs, "Verify the identity of a VM",
//! "Create short-lived credentials for a service account").

use std::path::Path;

use super::{Provider, Source, text};
use crate::env::Env;
use crate::error::Result;
use crate::explain::messages;
use crate::explain::requests::{Endpoint, Request};
use crate::json::{self, Object};
use crate::net::http::{Http, Reply};
use crate::net::url::Url;
use crate::os::file;
use crate::secret::{IdToken, RequestToken, redact_tokens};

/// The last one: see [`super::PROVIDERS`].
pub const PROVIDER: Provider = Provider {
    name: NAME,
    detected_by: "GOOGLE_SERVICE_ACCOUNT_NAME, or by the machine's maker",
    find,
    variables: |_| vec![], // the metadata server answers every program on the machine
};

/// Its name for people.
pub const NAME: &str = "Google Cloud";

/// The service account to act as, instead of the machine's own.
const SERVICE_ACCOUNT: &str = "GOOGLE_SERVICE_ACCOUNT_NAME";
/// The machine's product name (Google Cloud Docs, "Detect if a VM is running in Compute Engine").
const PRODUCT_NAME: &str = "/sys/class/dmi/id/product_name";
const PRODUCT_NAMES: [&str; 2] = ["Google", "Google Compute Engine"];

const ACCOUNT_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default";
const IAM: &str = "https://iamcredentials.googleapis.com";

/// The service account that vouches for this job.
pub struct Google {
    /// Another service account than the machine's.
    account: Option<String>,
}

fn find(env: &Env) -> Result<Option<Source>> {
    let account = text(env, SERVICE_ACCOUNT)?;
    if account.is_some_and(|account| !is_account(account)) {
        let error = "a service account's e-mail address or number is expected";
        return Err(messages::bad_setting(SERVICE_ACCOUNT, error));
    }
    let is_google = account.is_some() || is_googles_machine();
    Ok(is_google.then(|| Source::Google(Google { account: account.map(str::to_owned) })))
}

/// True for an e-mail address or a number: it can be part of a path.
fn is_account(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b)) && !text.starts_with('.')
}

fn is_googles_machine() -> bool {
    let name = file::read(Path::new(PRODUCT_NAME), 100).unwrap_or_default();
    PRODUCT_NAMES.iter().any(|known| known.as_bytes() == name.trim_ascii())
}

impl Google {
    /// An ID token for `audience`.
    pub fn id_token(&self, audience: &str, http: &Http) -> Result<IdToken> {
        let metadata = Url::google_metadata();
        match &self.account {
            None => {
                let url = metadata.with_path(&format!("{ACCOUNT_PATH}/identity"));
                let url = url.with_parameter("audience", audience).with_parameter("format", "full");
                read_id_token(&ask(http, &url)?, &url)
            }
            Some(account) => {
                let url = metadata.with_path(&format!("{ACCOUNT_PATH}/token"));
                let access_token = read_access_token(&ask(http, &url)?, &url)?;
                impersonate(account, audience, &access_token, http)
            }
        }
    }
}

fn ask(http: &Http, url: &Url) -> Result<Reply> {
    http.get(url, &[("Metadata-Flavor", "Google".to_owned())]).map_err(|error| request(url).no_reply(&error))
}

/// A request to this URL's server, for messages.
fn request(url: &Url) -> Request {
    // Only the metadata server has no TLS.
    let endpoint = if url.is_https() { Endpoint::GoogleIam } else { Endpoint::GoogleMetadata };
    Request { endpoint, server: url.origin().to_owned(), name: NAME.to_owned() }
}

/// Reads the metadata server's reply, which is the ID token alone.
pub fn read_id_token(reply: &Reply, url: &Url) -> Result<IdToken> {
    accepted(reply, url, redact_tokens)?;
    let text = String::from_utf8_lossy(&reply.body);
    IdToken::new(text.trim().to_owned()).map_err(|error| request(url).bad_token(error))
}

/// Reads the metadata server's reply to a request for an access token.
pub fn read_access_token(reply: &Reply, url: &Url) -> Result<RequestToken> {
    accepted(reply, url, redact_tokens)?;
    RequestToken::new(&member(reply, "access_token", url)?).map_err(|error| request(url).bad_token(error))
}

/// `projects.serviceAccounts.generateIdToken` of the IAM Service Account Credentials API, version 1.
fn impersonate(account: &str, audience: &str, access_token: &RequestToken, http: &Http) -> Result<IdToken> {
    let url = Url::parse(IAM).map_err(|error| messages::bad_setting(SERVICE_ACCOUNT, error))?;
    let url = url.with_path(&format!("/v1/projects/-/serviceAccounts/{account}:generateIdToken"));
    let authorization = format!("Bearer {}", access_token.reveal());
    let json = format!("{{\"audience\": {}, \"includeEmail\": true}}", json::quoted(audience));
    let reply = http.post_json(&url, &[("Authorization", authorization)], json);
    read_generated(&reply.map_err(|error| request(&url).no_reply(&error))?, &url, access_token)
}

/// Reads IAM's reply.
pub fn read_generated(reply: &Reply, url: &Url, access_token: &RequestToken) -> Result<IdToken> {
    accepted(reply, url, |text| access_token.redact(text))?;
    IdToken::new(member(reply, "token", url)?).map_err(|error| request(url).bad_token(error))
}

fn member(reply: &Reply, name: &str, url: &Url) -> Result<String> {
    let member = Object::read(&reply.body).and_then(|object| object.get(name));
    member.map_err(|error| request(url).bad_json(&error))
}

fn accepted(reply: &Reply, url: &Url, redact: impl Fn(&str) -> String) -> Result<()> {
    if reply.status == 200 { Ok(()) } else { Err(request(url).unexpected(reply, redact)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_can_not_leave_its_place_in_the_path() {
        for account in ["release@project.iam.gserviceaccount.com", "123456789012345678901", "a_b@c"] {
            assert!(is_account(account), "{account}");
        }
        for account in ["a/b", "../x", "a?b", "a#b", "a b", "a\r\nb", "a%2fb", "a:b", "ä"] {
            assert!(!is_account(account), "{account}");
            let found = find(&Env::from([(SERVICE_ACCOUNT, account)]));
            assert_eq!(found.err().unwrap().exit_status(), 2, "{account}");
        }
    }
}
