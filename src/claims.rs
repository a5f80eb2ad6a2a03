//! What an ID token says of the job: its claims. They are decoded, not verified: the index does that.

use std::fmt;

use crate::json::{self, Members};
use crate::secret::IdToken;

/// The claims of one ID token. Neither the token nor its signature can be had from them.
pub struct Claims(Members);

impl Claims {
    /// Decodes the middle part of the token. `None` where that is no JSON object: then the index would not take it
    /// either.
    pub fn of(id_token: &IdToken) -> Option<Claims> {
        let payload = id_token.reveal().split('.').nth(1)?;
        Members::read(&decode_base64url(payload)?).ok().map(Claims)
    }

    /// A claim that is a text, and not an empty one.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.text(name).filter(|text| !text.is_empty())
    }

    /// A claim that is a number of Unix seconds.
    pub fn unix_secs(&self, name: &str) -> Option<u64> {
        self.0.json(name)?.parse().ok()
    }

    /// True if the audience is this one, or a list with it (RFC 7519, section 4.1.3).
    pub fn has_audience(&self, audience: &str) -> bool {
        match (self.0.text("aud"), self.0.json("aud")) {
            (Some(text), _) => text == audience,
            (None, Some(list)) => {
                let list = format!("{{\"aud\":{list}}}");
                json::decode::<Audiences>(list.as_bytes())
                    .is_ok_and(|list| list.aud.iter().any(|text| text == audience))
            }
            (None, None) => false,
        }
    }

    /// All claims as one JSON object, and a line break.
    pub fn to_json(&self) -> String {
        let members: Vec<String> =
            self.iter().map(|(name, value)| format!("{}: {value}", json::quoted(name))).collect();
        format!("{{{}}}\n", members.join(", "))
    }

    /// All claims, each as JSON text, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter()
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[derive(nanoserde::DeJson)]
struct Audiences {
    aud: Vec<String>,
}

/// Base64 with the alphabet for URLs and no padding (RFC 7515, section 2). `None` for whatever is not that.
fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    // What is left over is less than a character's worth, and zero.
    (count < 6 && bits & ((1 << count) - 1) == 0).then_some(bytes)
}

#[cfg(test)]
impl From<&str> for Claims {
    fn from(json: &str) -> Claims {
        Claims(Members::read(json.as_bytes()).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(bytes: &[u8]) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let group = (0..3).fold(0, |group, n| group << 8 | usize::from(chunk.get(n).copied().unwrap_or(0)));
            for n in 0..=chunk.len() {
                text.push(char::from(ALPHABET[group >> (18 - 6 * n) & 63]));
            }
        }
        text
    }

    fn claims(json: &str) -> Option<Claims> {
        Claims::of(&IdToken::new(format!("eyJ.{}.c2ln", encode(json.as_bytes()))).unwrap())
    }

    #[test]
    fn base64url_is_read_as_rfc_4648_has_it_and_nothing_else_is() {
        for (text, bytes) in [("", ""), ("Zg", "f"), ("Zm8", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob")] {
            assert_eq!(decode_base64url(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(decode_base64url("-_-_").unwrap(), [0xfb, 0xff, 0xbf]);
        for first in 0..=255 {
            for length in 0..=4 {
                let bytes: Vec<u8> = (0..length).map(|n: u8| n.wrapping_mul(77) ^ first).collect();
                assert_eq!(decode_base64url(&encode(&bytes)), Some(bytes));
            }
        }
        for text in ["Z", "A", "AAAAA", "Zg=", "Zh", "Zm9=", "Zm9v Zg", "+/+/", "Zm9vYmFyZ"] {
            assert_eq!(decode_base64url(text), None, "{text}");
        }
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
        assert!(Claims::of(&IdToken::new("a.Z.c".to_owned()).unwrap()).is_none());
    }
}
