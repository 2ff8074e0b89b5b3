//! Where the assistant's turns lie in a rendered conversation.
//!
//! No template is asked to mark them. The text up to an answer is what generation would be prompted with:
//! `render(messages[..i], add_generation_prompt)` must be a prefix of the whole, and the turn reaches from there to its
//! stop token. Where a template rewrites earlier turns the prefix does not hold, and we say so instead of guessing.

use crate::conversation::Conversation;
use crate::{ChatTemplate, Refusal};
use artifact::Message;
use std::ops::Range;

/// The texts of tokens at which a turn may end.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopMarkers {
    /// The template's own end of turn, then the model's end of text.
    pub(crate) preferred: Vec<String>,
    /// All special tokens.
    pub(crate) all: Vec<String>,
}

/// One trained turn, in bytes of the rendered text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// From what follows the generation prompt to the end of the stop token.
    pub(crate) bytes: Range<usize>,
    /// Where the stop token begins.
    pub(crate) stop: usize,
}

/// Finds the turn of each message in `trained` in `text`, the rendering of `conversation`.
pub(crate) fn find_turns(
    template: &ChatTemplate,
    conversation: &Conversation,
    messages: &[Message],
    trained: &[usize],
    text: &str,
    markers: &StopMarkers,
) -> Result<Vec<Turn>, Refusal> {
    let turn = |&index: &usize| {
        let start = turn_start(template, conversation, index, text)?;
        let end = turn_end(template, conversation, index, text, markers)?;
        if end < start {
            return Err(rewritten(template, index, &text[..end], text));
        }
        let body = &text[start..end];
        let content = messages[index].content.as_deref().unwrap_or_default().trim();
        let Some(content_start) = body.find(content) else {
            return Err(Refusal::ContentLost {
                origin: template.origin().to_string(),
                message: index,
                content: excerpt(content),
            });
        };
        let content_end = content_start + content.len();
        let Some(stop) = find_stop(&body[content_end..], markers) else {
            return Err(Refusal::NoStop {
                origin: template.origin().to_string(),
                message: index,
                tail: excerpt(&body[content_end..]),
            });
        };
        Ok(Turn { bytes: start..start + content_end + stop.end, stop: start + content_end + stop.start })
    };
    trained.iter().map(turn).collect()
}

/// Where generation would begin to write message `index`.
fn turn_start(
    template: &ChatTemplate,
    conversation: &Conversation,
    index: usize,
    text: &str,
) -> Result<usize, Refusal> {
    let prompt = template.render(&conversation.messages[..index], conversation.tools.as_ref(), true)?;
    if text.starts_with(&prompt) {
        return Ok(prompt.len());
    }
    // Before the first answer nothing can have been rewritten by it: the prompt alone differs, which the user sees.
    Err(rewritten(template, index, &prompt, text))
}

/// Where message `index` ends: the whole text, or as much of the rendering up to it as the whole text repeats.
fn turn_end(
    template: &ChatTemplate,
    conversation: &Conversation,
    index: usize,
    text: &str,
    markers: &StopMarkers,
) -> Result<usize, Refusal> {
    if index + 1 == conversation.messages.len() {
        return Ok(text.len());
    }
    let alone = template.render(&conversation.messages[..=index], conversation.tools.as_ref(), false)?;
    let common = common_prefix(&alone, text);
    // Some templates close the conversation with one more token, which moves on as messages follow.
    if only_markers(&alone[common..], markers) {
        return Ok(common);
    }
    Err(rewritten(template, index, &alone, text))
}

/// The stop token in what follows an answer: markers and white space alone may follow it.
pub(crate) fn find_stop(tail: &str, markers: &StopMarkers) -> Option<Range<usize>> {
    let first = |candidates: &[String]| {
        let ends_turn = |range: &Range<usize>| only_markers(&tail[range.end..], markers);
        let places = candidates
            .iter()
            .filter(|marker| !marker.is_empty())
            .flat_map(|marker| tail.match_indices(marker.as_str()).map(|(at, found)| at..at + found.len()));
        // The longest of those that begin first: `<|end|>` may be the beginning of another token.
        places.filter(ends_turn).min_by_key(|range| (range.start, usize::MAX - range.end))
    };
    first(&markers.preferred).or_else(|| first(&markers.all))
}

/// Whether the text consists of special tokens and white space.
fn only_markers(text: &str, markers: &StopMarkers) -> bool {
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let longest = markers.all.iter().filter(|marker| rest.starts_with(marker.as_str())).map(String::len).max();
        match longest {
            Some(length) if length > 0 => rest = rest[length..].trim_start(),
            _ => return false,
        }
    }
    true
}

/// Length of the longest common prefix, at a character boundary.
fn common_prefix(left: &str, right: &str) -> usize {
    let mut length = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count();
    while !left.is_char_boundary(length) {
        length -= 1;
    }
    length
}

fn rewritten(template: &ChatTemplate, message: usize, alone: &str, text: &str) -> Refusal {
    let at = common_prefix(alone, text);
    Refusal::Rewritten {
        origin: template.origin().to_string(),
        message,
        alone: around(alone, at),
        followed: around(text, at),
    }
}

/// A few characters before and after the place where two texts part.
fn around(text: &str, at: usize) -> String {
    let before: Vec<char> = text[..at].chars().rev().take(12).collect();
    before.into_iter().rev().chain(text[at..].chars().take(24)).collect::<String>().escape_debug().to_string()
}

fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn markers() -> StopMarkers {
        StopMarkers {
            preferred: vec!["<|im_end|>".into()],
            all: ["<|im_end|>", "<|end|>", "<|endoftext|>", "<|end|><|x|>"].map(String::from).to_vec(),
        }
    }

    #[test]
    fn the_stop_is_the_first_marker_that_only_markers_follow() {
        assert_eq!(find_stop("<|im_end|>\n", &markers()), Some(0..10));
        assert_eq!(find_stop("<|end|>\n<|endoftext|>", &markers()), Some(0..7));
        assert_eq!(find_stop("<|end|> call <|im_end|>\n", &markers()), Some(13..23));
        assert_eq!(find_stop("<|end|> trailing words", &markers()), None);
        assert_eq!(find_stop("\n", &markers()), None);
        assert_eq!(find_stop("<|end|><|x|>", &markers()), Some(0..12));
    }

    #[test]
    fn common_prefixes_end_between_characters() {
        assert_eq!(common_prefix("aé", "aè"), 1);
        assert_eq!(common_prefix("abc", "ab"), 2);
    }
}
