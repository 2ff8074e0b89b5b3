//! Turns by the template's own `{% generation %}` tags: what stands between them is what the assistant writes, to the
//! character. Such a template may rewrite earlier turns: its author has said what is to be learnt all the same.

use crate::conversation::Conversation;
use crate::generation_tags::Spans;
use crate::turns::{StopMarkers, Turn, find_stop, following_stop, no_stop};
use crate::{ChatTemplate, Refusal};
use artifact::Message;
use std::ops::Range;

/// The turns of the messages in `trained`, or `None` where the template has no tags, or none around these messages.
pub(crate) fn tagged_turns(
    template: &ChatTemplate,
    conversation: &Conversation,
    messages: &[Message],
    trained: &[usize],
    text: &str,
    markers: &StopMarkers,
) -> Result<Option<Vec<Turn>>, Refusal> {
    if trained.is_empty() || !template.has_generation_tags() {
        return Ok(None);
    }
    let Some((marked, spans)) = template.render_marked(&conversation.messages, conversation.tools.as_ref())? else {
        return Ok(None);
    };
    if spans.is_empty() || !text.starts_with(&marked) {
        return Ok(None);
    }
    let answers: Vec<usize> = (0..messages.len()).filter(|index| messages[*index].role == "assistant").collect();
    let mut turns: Vec<Turn> = Vec::new();
    for (index, parts) in assign(template, conversation, &answers, &spans)? {
        if !trained.contains(&index) {
            continue;
        }
        let Some(last) = parts.len().checked_sub(1) else { continue };
        for (place, part) in parts.iter().enumerate() {
            let stop = if place == last { Some(stop_of(template, index, part, text, markers)?) } else { None };
            append(&mut turns, part.start..part.end, stop);
        }
    }
    Ok(Some(turns))
}

/// Adds a stretch, joining it to the one before where they touch. A stretch without a stop of its own belongs to a turn
/// that goes on.
fn append(turns: &mut Vec<Turn>, part: Range<usize>, stop: Option<Range<usize>>) {
    let end = stop.as_ref().map_or(part.end, |stop| stop.end.max(part.end));
    let stop = stop.map(|stop| stop.start..stop.end);
    match turns.last_mut().filter(|turn| turn.bytes.end >= part.start) {
        Some(turn) => {
            turn.bytes.end = turn.bytes.end.max(end);
            turn.stop = stop.or_else(|| turn.stop.clone());
        }
        None => turns.push(Turn { bytes: part.start..end, stop }),
    }
}

/// The stop token that ends a stretch, or that follows it.
fn stop_of(
    template: &ChatTemplate,
    index: usize,
    part: &Range<usize>,
    text: &str,
    markers: &StopMarkers,
) -> Result<Range<usize>, Refusal> {
    let body = &text[part.clone()];
    let first = |at: usize| {
        let rest = &body[at..];
        find_stop(rest, markers, "").map(|stop| part.start + at + stop.start..part.start + at + stop.end)
    };
    let space = text[part.end..].len() - text[part.end..].trim_start().len();
    first(0)
        .or_else(|| following_stop(text, part.end, markers))
        .or_else(|| following_stop(text, part.end + space, markers))
        .ok_or_else(|| no_stop(template, index, body))
}

/// Which stretches belong to which answer. One each is the rule; where an answer has none or several, rendering up to
/// each answer tells.
fn assign(
    template: &ChatTemplate,
    conversation: &Conversation,
    answers: &[usize],
    spans: &Spans,
) -> Result<Vec<(usize, Spans)>, Refusal> {
    if spans.len() == answers.len() {
        return Ok(answers.iter().copied().zip(spans.iter().map(|span| vec![span.clone()])).collect());
    }
    let mut assigned = Vec::with_capacity(answers.len());
    let mut taken = 0;
    for &index in answers {
        let until = &conversation.messages[..=index];
        let count = match index + 1 == conversation.messages.len() {
            true => spans.len(),
            false => template.render_marked(until, conversation.tools.as_ref())?.map_or(0, |(_, spans)| spans.len()),
        };
        if count < taken || count > spans.len() {
            return Err(Refusal::BadRecord(format!(
                "the template's generation tags mark {} stretches for {} assistant messages, and message {index} \
                 cannot be told from the others",
                spans.len(),
                answers.len()
            )));
        }
        assigned.push((index, spans[taken..count].to_vec()));
        taken = count;
    }
    Ok(assigned)
}
