//! An example as one text, with the parts that are trained: the step between messages and tokens.

#![expect(clippy::single_range_in_vec_init, reason = "the list of trained parts often holds one")]

use crate::conversation::Conversation;
use crate::tagged::tagged_turns;
use crate::turns::{StopMarkers, find_turns};
use crate::{ChatTemplate, EncodeOptions, Refusal, Render, TrainOn};
use artifact::{Example, Kind, Message};
use std::ops::Range;

/// Where each message's content stands: index of the message, bytes of the text.
pub(crate) type Contents = Vec<(usize, Range<usize>)>;

/// An example as text. Positions are bytes of `text`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub(crate) text: String,
    /// Trained parts, ascending and apart from each other.
    pub(crate) trained: Vec<Range<usize>>,
    /// The stop token of each trained turn of a chat.
    pub(crate) stops: Vec<Range<usize>>,
    /// Where each message's content stands.
    pub(crate) contents: Contents,
    /// Whether a trained end token is to follow the text.
    pub(crate) closed: bool,
}

/// Renders an example as the options say.
pub(crate) fn render(
    example: &Example,
    template: &ChatTemplate,
    options: EncodeOptions,
    markers: &StopMarkers,
) -> Result<Rendered, Refusal> {
    match (example.kind, options.render) {
        (Kind::Text, _) => text(example),
        (Kind::Chat, Render::Auto | Render::Chat) | (Kind::Completion, Render::Chat) => {
            chat(example, template, options.train_on, markers)
        }
        (Kind::Completion, Render::Auto | Render::Plain) | (Kind::Chat, Render::Plain) => {
            plain(&example.messages, options.train_on)
        }
        (Kind::Preference, _) => {
            Err(Refusal::BadRecord("a preference pair is two texts: ask for them with `encode_pair`".into()))
        }
    }
}

fn text(example: &Example) -> Result<Rendered, Refusal> {
    let text = example.text.clone().unwrap_or_default();
    if text.is_empty() {
        return Err(Refusal::BadRecord("the text is empty".into()));
    }
    Ok(Rendered {
        trained: vec![0..text.len()],
        contents: vec![(0, 0..text.len())],
        closed: true,
        text,
        stops: Vec::new(),
    })
}

/// What stands before the answer when no template is used: the system text as a paragraph of its own, then the prompt.
pub(crate) fn plain_prompt(messages: &[Message]) -> Result<(String, Contents), Refusal> {
    let mut text = String::new();
    let mut contents = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let known = message.role == "user" && index + 1 == messages.len() || message.role == "system" && index == 0;
        if !known {
            return Err(Refusal::BadRecord(format!(
                "without a chat template an example is [system,] user, assistant; message {index} is of role {}: use \
                 --render chat",
                message.role
            )));
        }
        let content = message.content.as_deref().unwrap_or_default();
        contents.push((index, text.len()..text.len() + content.len()));
        text.push_str(content);
        if message.role == "system" {
            text.push_str("\n\n");
        }
    }
    Ok((text, contents))
}

fn plain(messages: &[Message], train_on: TrainOn) -> Result<Rendered, Refusal> {
    let Some((answer, before)) = messages.split_last().filter(|(last, _)| last.role == "assistant") else {
        return Err(Refusal::NothingTrained("the last message is not the assistant's".into()));
    };
    if train_on != TrainOn::All && !is_trained(answer)? {
        return Err(Refusal::NothingTrained("the completion has weight 0".into()));
    }
    let (mut text, mut contents) = plain_prompt(before)?;
    let start = text.len();
    text.push_str(answer.content.as_deref().unwrap_or_default());
    contents.push((before.len(), start..text.len()));
    let from = if train_on == TrainOn::All { 0 } else { start };
    Ok(Rendered { trained: vec![from..text.len()], contents, closed: true, text, stops: Vec::new() })
}

fn chat(
    example: &Example,
    template: &ChatTemplate,
    train_on: TrainOn,
    markers: &StopMarkers,
) -> Result<Rendered, Refusal> {
    let messages = &example.messages[..];
    let last_answer = messages.iter().rposition(|message| message.role == "assistant");
    // What follows the last answer could not be learnt from, and some templates drop earlier thoughts because of it.
    let messages = match (train_on, last_answer) {
        (TrainOn::All, _) => messages,
        (_, Some(last)) => &messages[..=last],
        (_, None) => return Err(Refusal::NothingTrained("no message is the assistant's".into())),
    };
    let trained = trained_messages(messages, train_on)?;
    if trained.is_empty() && train_on != TrainOn::All {
        return Err(Refusal::NothingTrained("every assistant message has weight 0".into()));
    }
    let conversation = Conversation::new(messages, example.tools.as_deref()).map_err(Refusal::BadRecord)?;
    let mut text = template.render(&conversation.messages, conversation.tools.as_ref(), false)?;
    let printed = text.len();
    if let Some(marker) = markers.continuing.as_ref().filter(|_| last_answer == messages.len().checked_sub(1)) {
        text.push_str(marker);
    }
    let turns = match tagged_turns(template, &conversation, messages, &trained, &text, markers)? {
        Some(turns) => turns,
        None => find_turns(template, &conversation, messages, &trained, &text, markers)?,
    };
    let contents = content_places(template, &conversation, messages, &text[..printed]);
    let (trained, stops) = if train_on == TrainOn::All {
        (vec![0..text.len()], Vec::new())
    } else {
        (
            turns.iter().map(|turn| turn.bytes.clone()).collect(),
            turns.iter().filter_map(|turn| turn.stop.clone()).collect(),
        )
    };
    Ok(Rendered { text, trained, stops, contents, closed: false })
}

/// Which messages are learnt; for [`TrainOn::All`] none needs to be found.
pub(crate) fn trained_messages(messages: &[Message], train_on: TrainOn) -> Result<Vec<usize>, Refusal> {
    let first = match train_on {
        TrainOn::All => messages.len(),
        TrainOn::Assistant => 0,
        TrainOn::Last => messages.len().saturating_sub(1),
        TrainOn::Completion => messages.iter().rposition(|message| message.role == "user").map_or(0, |user| user + 1),
    };
    let mut trained = Vec::new();
    for (index, message) in messages.iter().enumerate().skip(first) {
        if message.role == "assistant" && is_trained(message)? {
            trained.push(index);
        }
    }
    Ok(trained)
}

fn is_trained(message: &Message) -> Result<bool, Refusal> {
    match message.weight {
        None => Ok(true),
        Some(1.0) => Ok(true),
        Some(0.0) => Ok(false),
        Some(weight) => {
            Err(Refusal::BadRecord(format!("message weight {weight}: expected 0 (not trained) or 1 (trained)")))
        }
    }
}

/// Where each content stands in the rendered text, found by rendering once more with marks in place of the contents.
/// Templates that look into the contents may render otherwise then; such places are left out.
fn content_places(
    template: &ChatTemplate,
    conversation: &Conversation,
    messages: &[Message],
    text: &str,
) -> Vec<(usize, Range<usize>)> {
    // Private-use characters, which no template tests for.
    let marks: Vec<String> = (0..messages.len()).map(|index| format!("\u{f8f0}{index}\u{f8f1}")).collect();
    let Ok(marked) = Conversation::with_contents(messages, &marks) else { return Vec::new() };
    let Ok(skeleton) = template.render(&marked, conversation.tools.as_ref(), false) else { return Vec::new() };
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (index, mark) in marks.iter().enumerate() {
        if let Some(at) = skeleton.find(mark.as_str()) {
            places.push((at, index));
        }
    }
    places.sort_unstable();
    let whole = |content: &str| content.to_owned();
    let trimmed = |content: &str| content.trim().to_owned();
    walk_skeleton(&skeleton, &marks, &places, messages, text, whole)
        .or_else(|| walk_skeleton(&skeleton, &marks, &places, messages, text, trimmed))
        .unwrap_or_default()
}

/// Puts the contents back into the skeleton; gives their places if the result is the text.
fn walk_skeleton(
    skeleton: &str,
    marks: &[String],
    places: &[(usize, usize)],
    messages: &[Message],
    text: &str,
    shape: impl Fn(&str) -> String,
) -> Option<Vec<(usize, Range<usize>)>> {
    let (mut at, mut cursor) = (0, 0);
    let mut found = Vec::with_capacity(places.len());
    for &(place, index) in places {
        let fixed = &skeleton[at..place];
        let content = shape(messages[index].content.as_deref().unwrap_or_default());
        let start = cursor + fixed.len();
        let end = start + content.len();
        if text.get(cursor..start) != Some(fixed) || text.get(start..end) != Some(&content) {
            return None;
        }
        found.push((index, start..end));
        cursor = end;
        at = place + marks[index].len();
    }
    (text.get(cursor..) == Some(&skeleton[at..])).then_some(found)
}

/// The text of an example for learning a vocabulary from: as it will be encoded where that is possible already, else
/// the contents one after the other.
pub fn vocabulary_text(example: &Example, template: &ChatTemplate, render: Render) -> String {
    if let Some(text) = &example.text {
        return text.clone();
    }
    let chat = match render {
        Render::Auto => example.kind == Kind::Chat,
        Render::Chat => true,
        Render::Plain => false,
    };
    if chat
        && let Ok(conversation) = Conversation::new(&example.messages, example.tools.as_deref())
        && let Ok(text) = template.render(&conversation.messages, conversation.tools.as_ref(), false)
    {
        return text;
    }
    let contents: Vec<&str> = example.messages.iter().filter_map(|message| message.content.as_deref()).collect();
    contents.join(if chat { "\n" } else { "" })
}
