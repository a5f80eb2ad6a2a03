//! Google Cloud: the metadata server issues an ID token of the machine's service account. For another service account, it
//! issues an access token, and Google's IAM issues an ID token for that (Google Cloud Docs, "Verify the identity of a VM",
//! "Create short-lived credentials for a service account").

use std::path::Path;

use super::{Provider, Source, text};
use crate::env::Env;
use crate::error::Result;
use crate::explain::messages;
use crate::explain::requests::{Endpoint, Request};
use crate::json;
use crate::net::http::{Http, Replied};
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
    let is_on_google = || {
        let name = file::read(Path::new(PRODUCT_NAME), 100).unwrap_or_default();
        PRODUCT_NAMES.iter().any(|known| known.as_bytes() == name.trim_ascii())
    };
    Ok((account.is_some() || is_on_google()).then(|| Source::Google(Google { account: account.map(str::to_owned) })))
}

/// True for an e-mail address or a number: it can be part of a path.
fn is_account(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b)) && !text.starts_with('.')
}

impl Google {
    /// An ID token for `audience`.
    pub fn id_token(&self, audience: &str, http: &Http) -> Result<IdToken> {
        let (metadata, flavor) = (Url::google_metadata(), [("Metadata-Flavor", "Google".to_owned())]);
        match &self.account {
            None => {
                let url = metadata.with_path(&format!("{ACCOUNT_PATH}/identity"));
                let url = url.with_parameter("audience", audience).with_parameter("format", "full");
                read_id_token(&http.get(&url, &flavor), &url)
            }
            Some(account) => {
                let url = metadata.with_path(&format!("{ACCOUNT_PATH}/token"));
                impersonate(account, audience, &read_access_token(&http.get(&url, &flavor), &url)?, http)
            }
        }
    }
}

/// A request to this URL's server, for messages.
fn request(url: &Url) -> Request {
    // Only the metadata server has no TLS.
    let endpoint = if url.is_https() { Endpoint::GoogleIam } else { Endpoint::GoogleMetadata };
    Request { endpoint, server: url.origin().to_owned(), name: NAME.to_owned() }
}

/// Reads the metadata server's reply, which is the ID token alone.
pub fn read_id_token(replied: &Replied, url: &Url) -> Result<IdToken> {
    let reply = request(url).accepted(replied, &[200], redact_tokens)?;
    request(url).usable(IdToken::new(String::from_utf8_lossy(&reply.body).trim().to_owned()))
}

/// Reads the metadata server's reply to a request for an access token.
pub fn read_access_token(replied: &Replied, url: &Url) -> Result<RequestToken> {
    request(url).usable(RequestToken::new(&request(url).member(replied, "access_token", redact_tokens)?))
}

/// `projects.serviceAccounts.generateIdToken` of the IAM Service Account Credentials API, version 1.
fn impersonate(account: &str, audience: &str, access_token: &RequestToken, http: &Http) -> Result<IdToken> {
    let url = Url::parse(IAM).map_err(|error| messages::bad_setting(SERVICE_ACCOUNT, error))?;
    let url = url.with_path(&format!("/v1/projects/-/serviceAccounts/{account}:generateIdToken"));
    let authorization = format!("Bearer {}", access_token.reveal());
    let json = format!("{{\"audience\": {}, \"includeEmail\": true}}", json::quoted(audience));
    read_generated(&http.post_json(&url, &[("Authorization", authorization)], json), &url, access_token)
}

/// Reads IAM's reply.
pub fn read_generated(replied: &Replied, url: &Url, access_token: &RequestToken) -> Result<IdToken> {
    request(url).usable(IdToken::new(request(url).member(replied, "token", |text| access_token.redact(text))?))
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
