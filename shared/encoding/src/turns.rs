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
    /// The token that ends a turn where the template prints it with the next turn only.
    pub(crate) continuing: Option<String>,
}

/// One trained turn, in bytes of the rendered text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// From what follows the generation prompt to the end of the stop token.
    pub(crate) bytes: Range<usize>,
    /// The stop token; `None` where the turn goes on after something that is not the assistant's.
    pub(crate) stop: Option<Range<usize>>,
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
        let prompt = prompt_before(template, conversation, index, text)?;
        let start = prompt.len();
        let end = turn_end(template, conversation, index, text, markers, &prompt)?;
        if end < start {
            return Err(rewritten(template, index, &text[..end], text));
        }
        let content = messages[index].content.as_deref().unwrap_or_default().trim();
        let Some(content_start) = text[start..end].find(content) else {
            return Err(Refusal::ContentLost {
                origin: template.origin().to_string(),
                message: index,
                content: excerpt(content),
            });
        };
        let after = start + content_start + content.len();
        let tail = &text[after..end];
        // Some templates print the generation prompt whether asked for or not.
        let stop = find_stop(tail, markers, &prompt)
            .map(|stop| after + stop.start..after + stop.end)
            .or_else(|| following_stop(text, end, markers))
            .ok_or_else(|| no_stop(template, index, tail))?;
        Ok(Turn { bytes: start..stop.end, stop: Some(stop) })
    };
    trained.iter().map(turn).collect()
}

/// The stop token that the next turn begins with, where it ends the turn before as well.
pub(crate) fn following_stop(text: &str, end: usize, markers: &StopMarkers) -> Option<Range<usize>> {
    let longest = markers.preferred.iter().filter(|marker| text[end..].starts_with(marker.as_str())).map(String::len);
    longest.max().filter(|length| *length > 0).map(|length| end..end + length)
}

pub(crate) fn no_stop(template: &ChatTemplate, message: usize, tail: &str) -> Refusal {
    Refusal::NoStop { origin: template.origin().to_string(), message, tail: excerpt(tail) }
}

/// What message `index` is generated from.
fn prompt_before(
    template: &ChatTemplate,
    conversation: &Conversation,
    index: usize,
    text: &str,
) -> Result<String, Refusal> {
    let prompt = template.render(&conversation.messages[..index], conversation.tools.as_ref(), true)?;
    if text.starts_with(&prompt) {
        return Ok(prompt);
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
    prompt: &str,
) -> Result<usize, Refusal> {
    if index + 1 == conversation.messages.len() {
        return Ok(text.len());
    }
    let alone = template.render(&conversation.messages[..=index], conversation.tools.as_ref(), false)?;
    let common = common_prefix(&alone, text);
    // Some templates close the conversation with one more token or with the next prompt, which moves on as messages
    // follow; that and what comes instead may begin alike.
    let longest = markers.all.iter().map(String::len).max().unwrap_or(0);
    let mut places = (common.saturating_sub(longest)..=common).rev().filter(|at| alone.is_char_boundary(*at));
    let closes = |rest: &str| only_markers(rest, markers) || prompt.ends_with(rest);
    places.find(|at| closes(&alone[*at..])).ok_or_else(|| rewritten(template, index, &alone, text))
}

/// The stop token in what follows an answer: markers and white space alone may follow it, or the generation prompt that
/// `prompt` ends with. Of markers that stand side by side the last: a turn may be closed by two.
pub(crate) fn find_stop(tail: &str, markers: &StopMarkers, prompt: &str) -> Option<Range<usize>> {
    let first = |candidates: &[String]| {
        let ends_turn = |range: &Range<usize>| {
            let rest = &tail[range.end..];
            only_markers(rest, markers) || prompt.ends_with(rest.trim_start())
        };
        let places = candidates
            .iter()
            .filter(|marker| !marker.is_empty())
            .flat_map(|marker| tail.match_indices(marker.as_str()).map(|(at, found)| at..at + found.len()));
        // The longest of those that begin first: `<|end|>` may be the beginning of another token.
        places.filter(ends_turn).min_by_key(|range| (range.start, usize::MAX - range.end))
    };
    let mut stop = first(&markers.preferred).or_else(|| first(&markers.all))?;
    while let Some(length) = marker_at(&tail[stop.end..], markers) {
        stop = stop.end..stop.end + length;
    }
    Some(stop)
}

/// Length of the longest marker that the text begins with.
fn marker_at(text: &str, markers: &StopMarkers) -> Option<usize> {
    let lengths = markers.all.iter().filter(|marker| text.starts_with(marker.as_str())).map(String::len);
    lengths.max().filter(|length| *length > 0)
}

/// Whether the text consists of special tokens and white space.
fn only_markers(text: &str, markers: &StopMarkers) -> bool {
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        match marker_at(rest, markers) {
            Some(length) => rest = rest[length..].trim_start(),
            None => return false,
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
            continuing: None,
        }
    }

    #[test]
    fn the_stop_is_the_first_marker_that_only_markers_follow() {
        assert_eq!(find_stop("<|im_end|>\n", &markers(), "say\nAnswer:\n"), Some(0..10));
        assert_eq!(find_stop("<|end|>\n<|endoftext|>", &markers(), "say\nAnswer:\n"), Some(0..7));
        assert_eq!(find_stop("<|end|> call <|im_end|>\n", &markers(), "say\nAnswer:\n"), Some(13..23));
        assert_eq!(find_stop("<|end|> trailing words", &markers(), "say\nAnswer:\n"), None);
        assert_eq!(find_stop("\n", &markers(), "say\nAnswer:\n"), None);
        assert_eq!(find_stop("<|end|><|x|>", &markers(), "say\nAnswer:\n"), Some(0..12));
    }

    #[test]
    fn two_markers_side_by_side_close_a_turn_together_and_a_prompt_may_follow() {
        assert_eq!(find_stop("<|end|><|im_end|>\n<|endoftext|>", &markers(), ""), Some(7..17));
        assert_eq!(find_stop("\n<|end|>\nAnswer:\n", &markers(), "Question:\nAnswer:\n"), Some(1..8));
        assert_eq!(find_stop("\n<|end|>\nAnswer:\n", &markers(), "Question:\n"), None);
    }

    #[test]
    fn common_prefixes_end_between_characters() {
        assert_eq!(common_prefix("aé", "aè"), 1);
        assert_eq!(common_prefix("abc", "ab"), 2);
    }
}
