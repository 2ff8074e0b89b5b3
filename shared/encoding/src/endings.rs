//! How a chat template ends the assistant's turn, learnt from a short conversation.

use crate::ChatTemplate;
use crate::conversation::Conversation;
use crate::turns::{StopMarkers, find_stop};
use artifact::Message;

const ANSWER: &str = "retune probes the end of a turn";
const NEXT: &str = "retune probes the turn that follows";

/// What the probe found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endings {
    /// The token that the template prints after an answer.
    pub(crate) own: Option<String>,
    /// Where it prints none after the last answer: the token that comes there once the conversation goes on.
    pub(crate) continuing: Option<String>,
}

/// Learns the endings. `all` are the special tokens, `known` those at which the model stops by its own settings.
pub(crate) fn learn(template: &ChatTemplate, all: &[String], known: &[String]) -> Endings {
    probe(template, all, known).unwrap_or_default()
}

fn probe(template: &ChatTemplate, all: &[String], known: &[String]) -> Option<Endings> {
    let markers = StopMarkers { preferred: Vec::new(), all: all.to_vec(), continuing: None };
    let messages = [Message::new("user", "probe"), Message::new("assistant", ANSWER), Message::new("user", NEXT)];
    let render = |count: usize, prompt: bool| {
        let conversation = Conversation::new(&messages[..count], None).ok()?;
        template.render(&conversation.messages, None, prompt).ok()
    };
    let text = render(2, false)?;
    let tail = &text[text.rfind(ANSWER)? + ANSWER.len()..];
    if let Some(range) = find_stop(tail, &markers, &render(1, true).unwrap_or_default()) {
        return Some(Endings { own: Some(tail[range].to_owned()), continuing: None });
    }
    let longer = render(3, false)?;
    let rest = longer.strip_prefix(&text)?;
    let between = &rest[..rest.find(NEXT)?];
    let first = all.iter().filter(|marker| !marker.is_empty() && between.starts_with(marker.as_str()));
    let first = first.max_by_key(|marker| marker.len())?;
    // A token that only opens the next turn ends this one just where the model's settings say so.
    let closes = known.contains(first)
        || all.iter().any(|marker| !marker.is_empty() && between[first.len()..].contains(marker.as_str()));
    Some(Endings { own: None, continuing: closes.then(|| first.clone()) })
}
