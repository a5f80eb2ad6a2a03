//! The secrets. Each is checked against its alphabet when it is made (except [`UnusableToken`]), and is revealed only
//! on purpose: its type can't be printed, not even by `Debug`. `os/memory.rs` wipes it, and its copies on Rust's heap,
//! when they are freed. Before they have a type, secrets are in `Env`, in a reply's body and in a proxy's URL.
//!
//! # Security
//!
//! This table lists all places that reveal a secret, that write to a file or a stream, or that send a request, open a
//! connection or start a program. A test counts the calls by their names (`tests/it/house.rs`), so a new place has to
//! be added here. A file that is not in this table does none of these.
//!
//! | file | reveals | writes | sends | why |
//! |---|---|---|---|---|
//! | `claims.rs` | 1 | 0 | 0 | decodes the middle part of the ID token |
//! | `exchange.rs` | 4 | 0 | 1 | opens the connection to the index early; has the ID token and the API token masked; has API tokens revoked |
//! | `explain/published.rs` | 0 | 0 | 1 | asks the index for what anybody may read; no token is sent |
//! | `explain/report.rs` | 0 | 2 | 0 | the job summary |
//! | `handover.rs` | 3 | 5 | 0 | the API token in its format for stdout, as a step output and as JSON; writes it to stdout or `$GITHUB_OUTPUT` |
//! | `handover/command.rs` | 0 | 0 | 1 | COMMAND |
//! | `handover/upload_clients.rs` | 1 | 0 | 0 | the API token in the variables of an upload tool |
//! | `identity/github.rs` | 1 | 0 | 1 | the request for an ID token, with the request token in its header |
//! | `identity/google.rs` | 1 | 0 | 3 | the requests for an access token and an ID token, with the access token in the last one's header |
//! | `identity/helper.rs` | 0 | 0 | 1 | Buildkite's or CircleCI's own program |
//! | `index_api.rs` | 2 | 0 | 2 | asks for the audience; sends the ID token to mint, and API tokens to revoke; tells the ID token from tokens in the reply |
//! | `main.rs` | 2 | 0 | 0 | `burn` has its API token masked and revoked |
//! | `net/connection.rs` | 0 | 1 | 1 | every connection to a server; CONNECT, to a proxy, with the proxy's password |
//! | `net/http.rs` | 0 | 0 | 3 | every request, by minreq |
//! | `net/relay.rs` | 0 | 2 | 1 | what TLS has encrypted, to the server; replies to what connects to the loopback port |
//! | `os/file.rs` | 0 | 1 | 0 | opens files for `handover.rs` and `explain/report.rs` |
//! | `os/log.rs` | 0 | 1 | 0 | lines for people and for the runner, to stderr |
//! | `os/signals.rs` | 0 | 0 | 3 | starts the programs of `handover/command.rs` and `identity/helper.rs` |
//! | `os/stdio.rs` | 0 | 5 | 0 | stdout and stderr, for `handover.rs` and `os/log.rs` |

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The text that replaces a secret.
const REDACTED: &str = "***";

/// Shorter than any real secret, in bytes. Text this short is not redacted: it would be found in the middle of words.
const MIN_REDACTED_BYTES: usize = 8;

/// An API token as the index sent it, unchecked: it can only be revoked.
pub struct UnusableToken(String);

/// A bearer token that lets a job request ID tokens: GitHub's (`$ACTIONS_ID_TOKEN_REQUEST_TOKEN`), or Google's access
/// token.
pub struct RequestToken(String);

/// An ID token: a JSON Web Token in which the CI system states the job's identity.
pub struct IdToken(String);

/// An API token of the index: its holder may upload.
pub struct ApiToken(String);

impl UnusableToken {
    pub fn new(text: String) -> UnusableToken {
        UnusableToken(text)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl RequestToken {
    /// # Errors
    /// The text is empty, or has a character that could end its header line.
    pub fn new(text: &str) -> Result<RequestToken, &'static str> {
        checked(text.to_owned(), |b| b.is_ascii_graphic()).map(RequestToken)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` without this secret or any other token: a server may send one back.
    pub fn redact(&self, text: &str) -> String {
        redact(text, &self.0)
    }
}

impl IdToken {
    /// # Errors
    /// The text is not three non-empty base64url parts with dots between them (RFC 7515, section 7.1).
    pub fn new(text: String) -> Result<IdToken, &'static str> {
        let text = checked(text, |b| is_base64url(b) || b == b'.')?;
        let parts: Vec<&str> = text.split('.').collect();
        let has_three = parts.len() == 3 && !parts.contains(&"");
        if has_three { Ok(IdToken(text)) } else { Err("it is not a JSON Web Token") }
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// `text` without this secret, its signature or any other token: a server may send one back.
    pub fn redact(&self, text: &str) -> String {
        let signature = self.0.rsplit('.').next().unwrap_or_default();
        redact(&redact(text, &self.0), signature)
    }
}

impl ApiToken {
    /// # Errors
    /// The text is empty, or has a character outside the alphabet of bearer tokens (RFC 6750, section 2.1). That
    /// alphabet has no space, quote, colon or line break. So the token is safe in a step output, in a mask, in JSON and
    /// in a shell's quotes. PyPI's tokens are `pypi-` and base64url.
    pub fn new(text: String) -> Result<ApiToken, &'static str> {
        checked(text, |b| is_base64url(b) || b".~+/=".contains(&b)).map(ApiToken)
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The host name of the index that minted the token, as the token states it: to compare, not to show. PyPI's tokens
    /// are macaroons (version 2, binary), which begin with their location. A length over 127 takes two bytes and is not
    /// read; no known index has such a name.
    pub fn index_host(&self) -> Option<String> {
        const VERSION: u8 = 2;
        const LOCATION: u8 = 1;
        let macaroon = URL_SAFE_NO_PAD.decode(self.0.strip_prefix("pypi-")?).ok()?;
        let [VERSION, LOCATION, length, rest @ ..] = &macaroon[..] else { return None };
        String::from_utf8(rest.get(..usize::from(*length))?.to_vec()).ok()
    }
}

/// `text` without this secret or anything that looks like a token: a server may send one back.
pub fn redact(text: &str, secret: &str) -> String {
    let is_long = secret.len() >= MIN_REDACTED_BYTES;
    redact_tokens(&if is_long { text.replace(secret, REDACTED) } else { text.to_owned() })
}

/// `text` without anything that looks like a PyPI API token or a JSON Web Token, no matter whose.
pub fn redact_tokens(text: &str) -> String {
    // Other text may stand directly before the token.
    let is_token = |word: &str| {
        word.len() > MIN_REDACTED_BYTES
            && (word.contains("pypi-Ag") || word.split(['.', '-', '_']).any(|part| part.starts_with("eyJ")))
    };
    let is_token_char = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut redacted = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_token_char(c)) {
        let word = piece.trim_end_matches(|c| !is_token_char(c));
        let separator = piece.trim_start_matches(is_token_char);
        redacted.push_str(if is_token(word) { REDACTED } else { word });
        redacted.push_str(separator);
    }
    redacted
}

/// Checks a secret against its alphabet.
fn checked(text: String, in_alphabet: impl Fn(u8) -> bool) -> Result<String, &'static str> {
    match &*text {
        "" => Err("it is empty"),
        _ if !text.bytes().all(in_alphabet) => Err("it has a character that such a token never has"),
        _ => Ok(text),
    }
}

fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_token_may_hold_whatever_fits_a_header_line() {
        assert_eq!(RequestToken::new("a.b:c=/+~").unwrap().reveal(), "a.b:c=/+~");
        assert_eq!(RequestToken::new("").err(), Some("it is empty"));
        for text in ["a b", "a\r\nHost: evil.example", "a\n", "ä"] {
            assert_eq!(
                RequestToken::new(text).err(),
                Some("it has a character that such a token never has"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_id_token_has_three_base64url_parts() {
        assert_eq!(IdToken::new("aA0.-_.x".to_owned()).unwrap().reveal(), "aA0.-_.x");
        for text in ["a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", ".."] {
            assert_eq!(IdToken::new(text.to_owned()).err(), Some("it is not a JSON Web Token"), "{text}");
        }
        for text in ["a.b.c\n", "a.b.c::", "a.b.c=", "a.b.\"c", "a.b.ä"] {
            assert_eq!(
                IdToken::new(text.to_owned()).err(),
                Some("it has a character that such a token never has"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_api_token_can_end_no_line_and_leave_no_quotes() {
        assert_eq!(ApiToken::new("pypi-AgEI_-x".to_owned()).unwrap().reveal(), "pypi-AgEI_-x");
        assert_eq!(ApiToken::new(String::new()).err(), Some("it is empty"));
        for text in ["pypi-\nx=y", "pypi-\r", "a::b", "a'b", "a\"b", "a\\b", "a b", "a$b", "a`b", "a;b", "a\0", "ä"] {
            assert_eq!(
                ApiToken::new(text.to_owned()).err(),
                Some("it has a character that such a token never has"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn an_api_token_that_is_a_macaroon_names_its_index() {
        let host = |text: &str| ApiToken::new(text.to_owned()).unwrap().index_host();
        let macaroon = |bytes: &[u8]| format!("pypi-{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(host("pypi-AgEIcHlwaS5vcmcCJDAwMDA").as_deref(), Some("pypi.org"));
        assert_eq!(host("pypi-AgENdGVzdC5weXBpLm9yZwIkMDAw").as_deref(), Some("test.pypi.org"));
        assert_eq!(host(&macaroon(b"\x02\x01\x03a-9")).as_deref(), Some("a-9"));
        for token in [
            "pypi-",
            "pypi-x",
            "AgEIcHlwaS5vcmcCJDAwMDA",
            "pypi-AgEIcHlwaS5vcmcCJDAwMDA=",
            "pypi-AgEI.~+/",
            "pypi-AgEIcHlwaS5vcm",
            &macaroon(b"\x02\x01"),
            &macaroon(b"\x01\x01\x08pypi.org"),
            &macaroon(b"\x02\x02\x08pypi.org"),
            &macaroon(b"\x02\x01\x08pypi.or\xff"),
        ] {
            assert_eq!(host(token), None, "{token}");
        }
    }

    #[test]
    fn whatever_looks_like_a_token_is_taken_out_of_a_text() {
        assert_eq!(
            redact_tokens("got eyJhbGciOiJ9.eyJzdWIi.c2ln, 'pypi-AgEIcHlwaS5vcmc' (äöü): eyJ, pypi-project@eyJhbGciOi"),
            "got ***, '***' (äöü): eyJ, pypi-project@***"
        );
        assert_eq!(redact_tokens("tokenpypi-AgEI ..eyJhbGci id_token-eyJhbGci."), "*** *** ***");
        assert_eq!(redact_tokens(""), "");
    }

    #[test]
    fn no_secret_shows_in_a_text_that_quotes_it() {
        let id_token = IdToken::new("head.payload.signature".to_owned()).unwrap();
        assert_eq!(id_token.redact("got head.payload.signature, bad signature"), "got ***, bad ***");
        let request_token = RequestToken::new("requesting").unwrap();
        assert_eq!(request_token.redact("bearer requesting"), "bearer ***");
        assert_eq!(RequestToken::new("request").unwrap().redact("Token request failed"), "Token request failed");
    }
}
