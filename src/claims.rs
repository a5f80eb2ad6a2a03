//! An ID token's claims, which describe the job. They are decoded here, but not verified: the index verifies them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::{self, Object};
use crate::secret::IdToken;
use crate::text;

/// The claims of one ID token. They contain neither the token nor its signature.
pub struct Claims(Object);

impl Claims {
    /// Decodes the middle part of the token. `None` if that is not a JSON object. The index would refuse such a token.
    pub fn of(id_token: &IdToken) -> Option<Claims> {
        let payload = id_token.reveal().split('.').nth(1)?;
        Object::read(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok().map(Claims)
    }

    /// The value of a claim. `None` if it is not a string, or empty.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).ok().filter(|text: &String| !text.is_empty())
    }

    /// The value of a claim in Unix seconds. `None` if it is not a whole number.
    pub fn unix_secs(&self, name: &str) -> Option<u64> {
        self.0.get(name).ok()
    }

    /// True if the claim `aud` is this audience, or a list with it (RFC 7519, section 4.1.3).
    pub fn has_audience(&self, audience: &str) -> bool {
        let list = self.0.get::<String>("aud").map(|text| vec![text]).or_else(|_| self.0.get::<Vec<String>>("aud"));
        list.is_ok_and(|list| list.iter().any(|text| text == audience))
    }

    /// All claims as one JSON object with a line break. It has no workflow command for a runner.
    pub fn to_json(&self) -> String {
        let members: Vec<_> = self.iter().map(|(name, value)| format!("{}: {value}", json::quoted(name))).collect();
        format!("{}\n", text::json(&format!("{{{}}}", members.join(", "))))
    }

    /// All claims, each as JSON text, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter()
    }
}

#[cfg(test)]
impl From<&str> for Claims {
    fn from(json: &str) -> Claims {
        Claims(Object::read(json.as_bytes()).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> Option<Claims> {
        Claims::of(&IdToken::new(format!("eyJ.{}.c2ln", URL_SAFE_NO_PAD.encode(json))).unwrap())
    }

    #[test]
    fn claims_are_read_whatever_their_types_are() {
        let claims = claims(r#"{"iss":"i","exp":1790000000,"n":1.5,"e":"","aud":"pypi","ok":true}"#).unwrap();
        assert_eq!(claims.text("iss").as_deref(), Some("i"));
        assert_eq!((claims.text("e"), claims.text("n"), claims.text("x")), (None, None, None));
        assert_eq!(claims.unix_secs("exp"), Some(1_790_000_000));
        assert_eq!((claims.unix_secs("n"), claims.unix_secs("iss")), (None, None));
        assert!(claims.has_audience("pypi") && !claims.has_audience("testpypi"));
        assert_eq!(claims.iter().count(), 6);
    }

    #[test]
    fn an_audience_may_be_a_list() {
        let claims = |json: &str| claims(json).unwrap();
        assert!(claims(r#"{"aud":["a","pypi"]}"#).has_audience("pypi"));
        for json in [r#"{"aud":["a"]}"#, r#"{"aud":[]}"#, r#"{"aud":[1]}"#, r#"{"aud":1}"#, "{}"] {
            assert!(!claims(json).has_audience("pypi"), "{json}");
        }
    }

    #[test]
    fn a_payload_that_is_no_object_has_no_claims() {
        for json in ["[]", "1", " ", "{", "{\"a\":1,\"a\":2}"] {
            assert!(claims(json).is_none(), "{json}");
        }
        for payload in ["Z", "Zh", "e30_"] {
            assert!(Claims::of(&IdToken::new(format!("a.{payload}.c")).unwrap()).is_none(), "{payload}");
        }
        assert!(Claims::of(&IdToken::new("a.e30.c".to_owned()).unwrap()).is_some());
    }
}
