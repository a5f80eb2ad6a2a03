//! All JSON from outside is read here: [`Object::read`] checks that it is well formed and bounded, and only then are
//! its members decoded. [`strings_after`] searches text that may be malformed.
//!
//! nanoserde 0.2.1 alone never ends on `{"x":[`, panics on `{"x":}`, and accepts mismatched brackets, comments, raw
//! line breaks and the last of two equal keys. So the text is checked here, by the rules of RFC 8259, and nanoserde
//! decodes only single values. If an object has the same key twice, it is refused (section 4 of the RFC allows both).

use std::collections::{BTreeMap, BTreeSet};

use nanoserde::{DeJson, SerJson};

/// More levels than any reply of the protocol needs. A deeper text is refused, so that the check can't exhaust the
/// stack.
const MAX_DEPTH: usize = 32;

/// More objects in one array than any reply needs. Small objects take a hundred times the memory of their text.
const MAX_OBJECTS: usize = 10_000;

/// Why a text was not decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct JsonError {
    /// It never quotes the text, which may contain a token.
    pub fault: &'static str,
    /// True: not JSON, for example a web page or half a reply. False: JSON that was not expected.
    pub is_malformed: bool,
}

const NOT_UTF8: JsonError = JsonError { fault: "it is not UTF-8 text", is_malformed: true };
const EMPTY: JsonError = JsonError { fault: "it is empty", is_malformed: true };
const MALFORMED: JsonError = JsonError { fault: "it is not well-formed JSON", is_malformed: true };
const TOO_DEEP: JsonError = JsonError { fault: "its JSON is nested deeper than 32 levels", is_malformed: false };
const DUPLICATE_KEY: JsonError = JsonError { fault: "its JSON has the same key twice", is_malformed: false };
/// nanoserde can't read a number beyond 64 bits, or an exponent with a plus sign.
const SHAPE: JsonError = JsonError {
    fault: "its JSON lacks a field, or has one of another type or a number that is too large",
    is_malformed: false,
};

/// A JSON object: each key with its value as JSON text.
pub struct Object(BTreeMap<String, String>);

impl Object {
    /// Reads one JSON object.
    ///
    /// # Errors
    /// [`JsonError`]; `SHAPE` if it is another JSON value.
    pub fn read(bytes: &[u8]) -> Result<Object, JsonError> {
        let text = std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)?;
        let mut members = BTreeMap::new();
        check(text, &mut |key, value| members.extend(key.map(|key| (key, value.to_owned()))))?;
        if text.trim_start().starts_with('{') { Ok(Object(members)) } else { Err(SHAPE) }
    }

    /// A member, decoded.
    ///
    /// # Errors
    /// `SHAPE` if there is none, or if it has another type.
    pub fn get<T: DeJson>(&self, key: &str) -> Result<T, JsonError> {
        T::deserialize_json(self.0.get(key).ok_or(SHAPE)?).map_err(|_| SHAPE)
    }

    /// A member that is an object.
    pub fn object(&self, key: &str) -> Option<Object> {
        Object::read(self.0.get(key)?.as_bytes()).ok()
    }

    /// The objects in a member that is an array, [`MAX_OBJECTS`] at most. Other elements are left out.
    pub fn objects(&self, key: &str) -> Vec<Object> {
        let mut objects = vec![];
        let _ = check(self.json(key).unwrap_or_default(), &mut |key, element| {
            if key.is_none() && objects.len() < MAX_OBJECTS {
                objects.extend(Object::read(element.as_bytes()));
            }
        });
        objects
    }

    /// A member's JSON text.
    pub fn json(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All keys with their JSON texts, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Each string that follows this key, also in malformed JSON.
pub fn strings_after(key: &str, bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let string_after = |(at, _)| {
        let mut rest = Cursor { text: &text, at };
        rest.key().and_then(|_| rest.string()).ok()
    };
    text.match_indices(&quoted(key)).filter_map(string_after).collect()
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    text.serialize_json()
}

/// Checks that `text` is one well-formed JSON value and nothing else. Calls `visit` for each member of an object, with
/// its decoded key and its value as JSON text, or for each element of an array, without a key.
fn check(text: &str, visit: &mut dyn FnMut(Option<String>, &str)) -> Result<(), JsonError> {
    let mut rest = Cursor { text, at: 0 };
    rest.skip_blanks();
    if rest.peek().is_none() {
        return Err(EMPTY);
    }
    rest.value(0, visit)?;
    rest.skip_blanks();
    if rest.peek().is_some() { Err(MALFORMED) } else { Ok(()) }
}

/// A position in the text. Methods check the text from there, and move the position to its end.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Moves over `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(MALFORMED) }
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize, visit: &mut dyn FnMut(Option<String>, &str)) -> Result<(), JsonError> {
        if depth > MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        match self.peek() {
            Some(b'{') => self.items(b'}', depth, visit),
            Some(b'[') => self.items(b']', depth, visit),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.word(),
        }
    }

    /// The members of an object or the elements of an array, and the bracket that closes it.
    fn items(&mut self, close: u8, depth: usize, visit: &mut dyn FnMut(Option<String>, &str)) -> Result<(), JsonError> {
        let mut keys = BTreeSet::new();
        self.at += 1;
        self.skip_blanks();
        if self.take(close) {
            return Ok(());
        }
        loop {
            self.skip_blanks();
            let key = if close == b'}' { Some(self.key()?) } else { None };
            if key.as_ref().is_some_and(|key| !keys.insert(key.clone())) {
                return Err(DUPLICATE_KEY);
            }
            let start = self.at;
            self.value(depth + 1, &mut |_, _| ())?;
            visit(key, self.since(start));
            self.skip_blanks();
            if self.take(close) {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// A member's key, and the colon after it.
    fn key(&mut self) -> Result<String, JsonError> {
        let key = self.string()?;
        self.skip_blanks();
        self.expect(b':')?;
        self.skip_blanks();
        Ok(key)
    }

    /// A string. It is decoded, since one key can be spelled in two ways. nanoserde checks `\u` escapes.
    fn string(&mut self) -> Result<String, JsonError> {
        let start = self.at;
        self.expect(b'"')?;
        while !self.take(b'"') {
            let is_escape = self.take(b'\\');
            match self.peek() {
                None | Some(0..=0x1f) => return Err(MALFORMED),
                Some(escaped) if is_escape && !br#""\/bfnrtu"#.contains(&escaped) => return Err(MALFORMED),
                _ => self.at += 1,
            }
        }
        String::deserialize_json(self.since(start)).map_err(|_| MALFORMED)
    }

    /// The text from `start` to here.
    fn since(&self, start: usize) -> &str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    /// One or more digits.
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(MALFORMED) }
    }

    fn word(&mut self) -> Result<(), JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let word = ["true", "false", "null"].iter().find(|word| rest.starts_with(**word)).ok_or(MALFORMED)?;
        self.at += word.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Result<String, JsonError> {
        Object::read(text.as_bytes())?.get("value")
    }

    #[test]
    fn unknown_fields_of_every_kind_are_skipped() {
        for unknown in [
            "1",
            "-0",
            "1.5e-7",
            "1e+5",
            "18446744073709551616",
            "true",
            "false",
            "null",
            "\"\"",
            "[]",
            "{}",
            "[{\"a\":[1e+5,{}]},\"}\"]",
            "{\"a\":[]}",
        ] {
            let text = format!(" {{\"x\" : {unknown} ,\"value\":\"a\", \"y\":{unknown}}}\r\n");
            assert_eq!(reply(&text), Ok("a".to_owned()), "{text}");
        }
    }

    #[test]
    fn an_object_is_read_member_by_member() {
        let text = r#" {"a\u0062" : "x\ny", "n": 18446744073709551616, "o": {"p": [1, {"q": null}, {}]} , "s": ""} "#;
        let object = Object::read(text.as_bytes()).unwrap();
        assert_eq!(object.get("ab"), Ok("x\ny".to_owned()));
        assert_eq!(object.get("s"), Ok(String::new()));
        for name in ["n", "o", "none"] {
            assert_eq!(object.get::<String>(name), Err(SHAPE), "{name}");
        }
        assert_eq!(object.json("n"), Some("18446744073709551616"));
        let inner = object.object("o").unwrap();
        assert_eq!(inner.json("p"), Some(r#"[1, {"q": null}, {}]"#));
        let elements: Vec<_> = inner.objects("p").iter().map(|element| element.iter().count()).collect();
        assert_eq!(elements, [1, 0], "other elements are left out");
        assert!(object.object("n").is_none() && object.object("s").is_none());
        assert!(object.objects("o").is_empty() && object.objects("n").is_empty() && object.objects("none").is_empty());
        assert_eq!(object.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["ab", "n", "o", "s"]);
        assert_eq!(Object::read(b"{}").unwrap().iter().count(), 0);
        for (text, error) in [("[]", SHAPE), ("{\"a\":1,\"a\":1}", DUPLICATE_KEY), ("", EMPTY)] {
            assert_eq!(Object::read(text.as_bytes()).err(), Some(error), "{text}");
        }
    }

    #[test]
    fn an_array_gives_a_bounded_number_of_objects() {
        let text = format!("{{\"x\":[{}{{}}]}}", "{\"a\":1},".repeat(MAX_OBJECTS + 1));
        assert_eq!(Object::read(text.as_bytes()).unwrap().objects("x").len(), MAX_OBJECTS);
    }

    #[test]
    fn text_that_hangs_nanoserde_is_refused() {
        for text in ["{\"x\":[", "{\"x\":{\"a\":1", "{\"value\":\"a\",\"x\":[[]"] {
            assert_eq!(reply(text), Err(MALFORMED), "{text}");
        }
    }

    #[test]
    fn text_that_makes_nanoserde_panic_is_refused() {
        for text in ["{\"x\":}", "{\"x\":,\"value\":\"a\"}", "{\"value\":\"a\",\"x\":]}", "{\"x\"::1}"] {
            assert_eq!(reply(text), Err(MALFORMED), "{text}");
        }
    }

    #[test]
    fn text_that_nanoserde_takes_though_it_is_no_json_is_refused() {
        for text in [
            "{\"x\":[1},\"value\":\"q\"}",
            "{\"value\":\"a\nb\"}",
            "{\"value\":\"a\"} trailing",
            "{\"value\":\"a\"}{}",
            "{\"value\":\"a\",}",
            "{\"value\":\"\\q\"}",
            "{\"value\":\"\\0\"}",
            "{\"value\":\"a\",\"x\":01}",
            "{\"value\":\"a\",\"x\":+1}",
            "{\"value\":\"a\",\"x\":1.}",
            "{\"value\":\"a\",\"x\":1e}",
            "{\"value\":\"a\",\"x\":-}",
            "{/**/\"value\":\"a\"}",
            "{\"value\":\"a\"}//",
            "{value:\"a\"}",
            "\u{feff}{\"value\":\"a\"}",
            "{\"value\":\"a\"}\0",
        ] {
            assert_eq!(reply(text), Err(MALFORMED), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_however_it_is_spelled() {
        assert_eq!(reply(r#"{"value":"a","value":"b"}"#), Err(DUPLICATE_KEY));
        assert_eq!(reply(r#"{"value":"a","v\u0061lue":"b"}"#), Err(DUPLICATE_KEY));
        assert_eq!(reply(r#"{"value":"a","x":{"y":1,"y":2}}"#), Err(DUPLICATE_KEY));
        assert_eq!(reply(r#"{"value":"a","x":{"value":1}}"#), Ok("a".to_owned()));
    }

    #[test]
    fn strings_are_found_in_malformed_json() {
        let found = |text: &str| strings_after("token", text.as_bytes());
        assert_eq!(found(r#"{"token" : "a\n","x":{"token":"b"},"token":1,"token":"cut"#), ["a\n", "b"]);
        assert_eq!(strings_after("token", b"\xff\"token\":\"a\"]"), ["a"]);
        for text in ["", "token", r#""token""#, r#""token":"#, r#""token":"a"#, r#"token:"a""#] {
            assert!(found(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn escapes_are_decoded_and_half_a_surrogate_pair_is_refused() {
        assert_eq!(reply(r#"{"value":"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00"}"#), Ok("\"\\/\x08\x0c\n\r\tä😀".to_owned()));
        for half in [r"\ud83d", r"\ud83dx", r"\ud83d\n", r"\ud83d\u0041", r"\ude00", r"\u12", r"\u+123"] {
            assert_eq!(reply(&format!("{{\"value\":\"{half}\"}}")), Err(MALFORMED), "{half}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels| format!("{{\"value\":\"a\",\"x\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(TOO_DEEP.fault.contains(&MAX_DEPTH.to_string()));
        assert_eq!(reply(&nested(MAX_DEPTH)), Ok("a".to_owned()));
        assert_eq!(reply(&nested(MAX_DEPTH + 1)), Err(TOO_DEEP));
        assert_eq!(reply(&"[".repeat(60_000)), Err(TOO_DEEP));
    }

    #[test]
    fn a_reply_of_another_shape_is_refused() {
        assert_eq!(reply(""), Err(EMPTY));
        assert_eq!(reply(" \r\n"), Err(EMPTY));
        assert_eq!(Object::read(b"{\"value\":\"\xff\"}").err(), Some(NOT_UTF8));
        for text in ["[]", "null", "{}", "\"value\"", r#"{"value":null}"#, r#"{"value":1}"#, r#"{"value":["a"]}"#] {
            assert_eq!(reply(text), Err(SHAPE), "{text}");
        }
        for expires in ["-1", "1.5", "1e9", "\"1\"", "18446744073709551616"] {
            let object = Object::read(format!(r#"{{"expires":{expires}}}"#).as_bytes()).unwrap();
            assert_eq!(object.get::<u64>("expires"), Err(SHAPE), "{expires}");
        }
    }

    /// Every text of up to five of these pieces: none hangs or panics, and the check agrees with a JSON library which
    /// texts are well formed. (Only we refuse equal keys, but no text is long enough for two.)
    #[test]
    fn every_short_text_of_nasty_pieces_is_judged_as_a_json_library_judges_it() {
        let pieces = ["{", "}", "[", "]", ":", ",", "\"value\"", "\"\\u0061\"", "1", "-", "null", " "];
        let mut texts = vec![String::new()];
        let mut checked = 0;
        for _ in 0..5 {
            texts = texts.iter().flat_map(|text| pieces.iter().map(move |piece| format!("{text}{piece}"))).collect();
            for text in &texts {
                let ours = check(text, &mut |_, _| ());
                let theirs = serde_json::from_str::<serde_json::Value>(text);
                assert_eq!(ours.is_ok(), theirs.is_ok(), "{text}: {ours:?} {theirs:?}");
                let _ = Object::read(text.as_bytes()).map(|object| object.get::<Option<u64>>("value"));
                checked += 1;
            }
        }
        assert_eq!(checked, (1..=5).map(|n| 12_usize.pow(n)).sum::<usize>());
    }
}
