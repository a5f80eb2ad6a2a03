//! Google Cloud: the metadata server issues an ID token of the machine's service account. For an ID token of another
//! service account, it issues an access token, which Google's IAM accepts (Google Cloud Docs, "Verify the identity of a
//! VM", "Create short-lived credentials for a service account").

use std::path::Path;

use super::{Source, text};
use crate::env::Env;
use crate::error::{Kind, Result};
use crate::explain::messages;
use crate::json;
use crate::net::http::{Http, HttpResult};
use crate::net::url::Url;
use crate::os::file;
use crate::requests::{Endpoint, Request};
use crate::secret::{IdToken, RequestToken, redact_tokens};

/// The name in messages.
pub const NAME: &str = "Google Cloud";

/// The variable that names a service account other than the machine's own.
const SERVICE_ACCOUNT: &str = "GOOGLE_SERVICE_ACCOUNT_NAME";
/// The file with the machine's product name (Google Cloud Docs, "Detect if a VM is running in Compute Engine").
const PRODUCT_NAME: &str = "/sys/class/dmi/id/product_name";
const PRODUCT_NAMES: [&str; 2] = ["Google", "Google Compute Engine"];

const ACCOUNT_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default";
const IAM: &str = "https://iamcredentials.googleapis.com";

/// Recognises Google Cloud by the variable, or by the machine's product name.
pub fn find(env: &Env) -> Result<Option<Source>> {
    let account = text(env, SERVICE_ACCOUNT)?;
    if account.is_some_and(|account| !is_account(account)) {
        let error = "a service account's e-mail address or number is expected";
        return Err(messages::bad_setting(SERVICE_ACCOUNT, error));
    }
    let is_on_google = || {
        let name = file::read(Path::new(PRODUCT_NAME), 100).unwrap_or_default();
        PRODUCT_NAMES.iter().any(|known| known.as_bytes() == name.trim_ascii())
    };
    Ok((account.is_some() || is_on_google()).then(|| Source::Google(account.map(str::to_owned))))
}

/// True for an e-mail address or a number. It is safe as part of a path.
fn is_account(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@".contains(&b)) && !text.starts_with('.')
}

/// An ID token of this service account, or of the machine's own.
pub fn id_token(account: Option<&str>, audience: &str, http: &Http) -> Result<IdToken> {
    let flavor = [("Metadata-Flavor", "Google".to_owned())];
    let Some(account) = account else {
        let url = Url::google_metadata().with_path(&format!("{ACCOUNT_PATH}/identity"));
        let url = url.with_parameter("audience", audience).with_parameter("format", "full");
        return read_id_token(&http.get(&url, &flavor));
    };
    let url = Url::google_metadata().with_path(&format!("{ACCOUNT_PATH}/token"));
    let access_token = read_access_token(&http.get(&url, &flavor))?;

    // `projects.serviceAccounts.generateIdToken` of the IAM Service Account Credentials API, version 1.
    let url = Url::parse(&format!("{IAM}/v1/projects/-/serviceAccounts/{account}:generateIdToken"));
    let url = url.map_err(|error| messages::bad_setting(SERVICE_ACCOUNT, error))?;
    let authorization = format!("Bearer {}", access_token.reveal());
    let json = format!("{{\"audience\": {}, \"includeEmail\": true}}", json::quoted(audience));
    read_generated(&http.post_json(&url, &[("Authorization", authorization)], json), &access_token)
}

const ROLE: &str = "the account that the job runs as needs the role Service Account Token Creator for the account that \
                    GOOGLE_SERVICE_ACCOUNT_NAME names, and the project needs the IAM Service Account Credentials API";

const METADATA_ENDPOINT: Endpoint = Endpoint {
    asking: "asking Google Cloud for an ID token",
    refusal: (Kind::NoIdentity, "refused to issue an ID token"),
    hint: |status, is_refusal| if status == 404 { Some(messages::METADATA) } else { is_refusal.then_some(ROLE) },
    hint_without_reply: None,
    nonsense: messages::OTHER_PROVIDER,
    mints: false,
};

const IAM_ENDPOINT: Endpoint =
    Endpoint { hint: |status, is_refusal| (is_refusal || status == 404).then_some(ROLE), ..METADATA_ENDPOINT };

fn request(endpoint: &'static Endpoint, server: &str) -> Request {
    Request { endpoint, server: server.to_owned(), name: NAME.to_owned() }
}

/// Reads the metadata server's reply, which is the ID token alone.
pub fn read_id_token(replied: &HttpResult) -> Result<IdToken> {
    let request = request(&METADATA_ENDPOINT, Url::google_metadata().origin());
    let reply = request.accepted(replied, &[200], redact_tokens)?;
    request.usable(IdToken::new(String::from_utf8_lossy(&reply.body).trim().to_owned()))
}

/// Reads the metadata server's reply to a request for an access token.
pub fn read_access_token(replied: &HttpResult) -> Result<RequestToken> {
    let request = request(&METADATA_ENDPOINT, Url::google_metadata().origin());
    request.usable(RequestToken::new(&request.member(replied, "access_token", redact_tokens)?))
}

/// Reads IAM's reply.
pub fn read_generated(replied: &HttpResult, access_token: &RequestToken) -> Result<IdToken> {
    let request = request(&IAM_ENDPOINT, IAM);
    request.usable(IdToken::new(request.member(replied, "token", |text| access_token.redact(text))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_absent_metadata_server_is_said_to_be_absent() {
        use crate::net::http_error::{Fault, HttpError};
        for (fault, hint) in [(Fault::Absent, messages::METADATA), (Fault::NoReply, messages::AGAIN)] {
            let error = read_id_token(&Err(HttpError::new(fault, "x"))).err().unwrap();
            assert_eq!(error.explanation.hints, [hint]);
            assert_eq!((error.is_transient, error.nothing_was_sent), (fault == Fault::NoReply, fault == Fault::Absent));
        }
    }

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
