//! An ID token of any text, and one with any claims: what is read of it, and what is said of it.
//!
//! The first byte of an input chooses the index and whether the rest is a token as it stands or the claims of one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::shown::{check_explanation, unguessable};
use crate::claims::Claims;
use crate::env::Env;
use crate::explain::causes::explain_claims;
use crate::explain::job::Job;
use crate::explain::published::{self, Published, Release};
use crate::index::Index;
use crate::secret::IdToken;

pub fn fuzz(input: &[u8]) {
    let [choice, rest @ ..] = input else { return };
    let signature = unguessable(input);
    let text = match choice % 2 {
        0 => format!("eyJhbGciOiJSUzI1NiJ9.{}.{signature}", URL_SAFE_NO_PAD.encode(rest)),
        _ => String::from_utf8_lossy(rest).into_owned(),
    };
    let Ok(id_token) = IdToken::new(text.clone()) else { return };
    assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
    let parts: Vec<&str> = text.split('.').collect();
    assert!(parts.len() == 3 && parts.iter().all(|part| !part.is_empty()));
    let Some(claims) = Claims::of(&id_token) else { return };
    let payload = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let value: Value = serde_json::from_slice(&payload).unwrap();
    check_reading(&claims, &value);

    let index = Index::parse(["pypi", "testpypi", "https://index.example"][usize::from(choice / 2 % 3)]).unwrap();
    let secrets: &[&str] = if choice % 2 == 0 { &[&text, &signature] } else { &[] };
    // What the index publishes may be any text as well.
    let published = |_: &str| {
        let release = Release::read(&payload).map(|(release, _)| release);
        let publisher = published::publisher(&payload);
        release.map_or(Published::NoProject, |release| Published::Release(Release { publisher, ..release }))
    };
    for projects in [vec![], vec!["octo-project".to_owned()]] {
        let env: Env = [("GITHUB_WORKSPACE".into(), "/nonexistent".into())].into_iter().collect();
        let job = Job::of(Claims::of(&id_token).unwrap(), &index, &env);
        let job = Job { audience: index.known_audience(), projects, now_unix_secs: 1_790_000_000, ..job };
        let explanation = explain_claims(job, published).unwrap_or_else(|error| *error.explanation);
        check_explanation(&explanation, secrets);
    }
}

/// The claims are those that another decoder reads, one by one and printed.
fn check_reading(claims: &Claims, value: &Value) {
    let printed = claims.to_json();
    assert_eq!(&serde_json::from_str::<Value>(&printed).unwrap(), value);
    for (name, value) in value.as_object().unwrap() {
        assert_eq!(claims.text(name).as_deref(), value.as_str().filter(|text| !text.is_empty()));
        assert_eq!(claims.unix_secs(name), value.as_u64());
    }
    for audience in ["pypi", "testpypi", ""] {
        let has = match &value["aud"] {
            Value::String(text) => text == audience,
            Value::Array(list) => list.iter().all(Value::is_string) && list.iter().any(|text| text == audience),
            _ => false,
        };
        assert_eq!(claims.has_audience(audience), has);
    }
}
