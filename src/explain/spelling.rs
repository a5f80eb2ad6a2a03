//! Finds the name that the user probably meant.

/// The hint for a misspelt name.
pub fn did_you_mean(name: &str) -> String {
    format!("did you mean {name}?")
}

/// The name that differs least from the word, by two letters at most. Leading dashes, upper case and a value after `=`
/// are ignored. In a short word, more than one letter has to match.
pub fn nearest(word: &str, names: impl IntoIterator<Item = &'static str> + Clone) -> Option<&'static str> {
    let word = word.split('=').next().unwrap_or_default().trim_start_matches('-').to_lowercase();
    let meant = |edits| {
        let is_near = |name: &&str| differ_by(word.as_bytes(), name.trim_start_matches('-').as_bytes(), edits);
        names.clone().into_iter().find(is_near)
    };
    (0..=2).filter(|edits| edits + 1 < word.len()).find_map(meant)
}

/// True if at most `edits` inserted, deleted or changed letters turn one word into the other.
fn differ_by(a: &[u8], b: &[u8], edits: usize) -> bool {
    match (a, b) {
        ([], rest) | (rest, []) => rest.len() <= edits,
        ([x, a_rest @ ..], [y, b_rest @ ..]) if x == y => differ_by(a_rest, b_rest, edits),
        ([_, a_rest @ ..], [_, b_rest @ ..]) => {
            edits > 0 && [(a_rest, b_rest), (a_rest, b), (a, b_rest)].iter().any(|(a, b)| differ_by(a, b, edits - 1))
        }
    }
}
