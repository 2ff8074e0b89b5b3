//! `{% generation %} … {% endgeneration %}`: with these tags of transformers a template says what the assistant writes.
//! No other engine knows them; here they become filter blocks, which keep their white space control and put marks around
//! their text where a caller asks for them.

use minijinja::{State, Value};
use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

/// Stretches of a text in bytes, ascending.
pub(crate) type Spans = Vec<Range<usize>>;

/// The filter that the tags become.
pub(crate) const FILTER: &str = "generation__";
/// The variable that asks for marks.
pub(crate) const MARKED: &str = "generation__marked";

/// Noncharacters, which no text may hold.
const OPEN: &str = "\u{fdd0}\u{fdd1}\u{fdd2}";
const CLOSE: &str = "\u{fdd0}\u{fdd1}\u{fdd3}";

static TAG: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("the pattern is valid"));

/// Whether the source has such a tag.
pub(crate) fn are_in(source: &str) -> bool {
    TAG.is_match(source)
}

/// The source with filter blocks in place of the tags.
pub(crate) fn to_filter_blocks(source: &str) -> String {
    TAG.replace_all(source, |tag: &regex::Captures<'_>| {
        let body = if tag.get(2).is_some() { "endfilter".to_owned() } else { format!("filter {FILTER}") };
        format!("{{%{} {body} {}%}}", &tag[1], &tag[3])
    })
    .into_owned()
}

/// The filter: the text, between marks where they are asked for.
pub(crate) fn mark(state: &State<'_, '_>, text: String) -> String {
    if state.lookup(MARKED).as_ref().is_some_and(Value::is_true) { format!("{OPEN}{text}{CLOSE}") } else { text }
}

/// The text without the marks, and where they stood.
pub(crate) fn take_marks(marked: &str) -> (String, Spans) {
    let (mut text, mut spans) = (String::with_capacity(marked.len()), Spans::new());
    let mut rest = marked;
    while let Some(at) = rest.find(OPEN) {
        text.push_str(&rest[..at]);
        rest = &rest[at + OPEN.len()..];
        let end = rest.find(CLOSE).unwrap_or(rest.len());
        let start = text.len();
        text.push_str(&rest[..end]);
        if text.len() > start {
            spans.push(start..text.len());
        }
        rest = rest.get(end + CLOSE.len()..).unwrap_or_default();
    }
    text.push_str(rest);
    (text, spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_become_filters_and_marks_become_spans() {
        assert_eq!(
            to_filter_blocks("{%- generation -%}a{% endgeneration +%}"),
            "{%- filter generation__ -%}a{% endfilter +%}"
        );
        let marked = format!("a{OPEN}é{CLOSE}b{OPEN}{CLOSE}{OPEN}c{CLOSE}");
        assert_eq!(take_marks(&marked), ("aébc".to_owned(), vec![1..3, 4..5]));
        assert_eq!(take_marks("plain"), ("plain".to_owned(), vec![]));
    }
}
