//! What makes an example itself: a hash of its content, equal wherever it comes from.

use artifact::{Example, Message};

/// The first 128 bits of BLAKE3 over the canonical content: kind, messages, tools, text, chosen and rejected, each
/// part preceded by its length. Source, row and kept columns do not count.
pub fn identity(example: &Example) -> u128 {
    let mut content = Content(blake3::Hasher::new());
    content.text(Some(example.kind.as_str()));
    content.messages(&example.messages);
    content.text(example.tools.as_deref());
    content.text(example.text.as_deref());
    content.messages(&example.chosen);
    content.messages(&example.rejected);
    content.finish()
}

/// A hash of what an example asks: all before the last turn of the assistant, or the prompt of a preference pair.
/// Running text asks nothing.
pub fn prompt_identity(example: &Example) -> Option<u128> {
    let asked = if example.chosen.is_empty() {
        let last = example.messages.iter().rposition(|message| message.role == "assistant")?;
        &example.messages[..last]
    } else {
        &example.messages[..]
    };
    if asked.is_empty() {
        return None;
    }
    let mut content = Content(blake3::Hasher::new());
    content.messages(asked);
    Some(content.finish())
}

/// A hash of a text alone, for groups.
pub fn text_identity(text: &str) -> u128 {
    let mut content = Content(blake3::Hasher::new());
    content.text(Some(text));
    content.finish()
}

/// The identity as the `id` column has it.
pub fn hexadecimal(identity: u128) -> String {
    format!("{identity:032x}")
}

struct Content(blake3::Hasher);

impl Content {
    fn text(&mut self, text: Option<&str>) {
        match text {
            None => {
                self.0.update(&u64::MAX.to_le_bytes());
            }
            Some(text) => {
                self.0.update(&(text.len() as u64).to_le_bytes());
                self.0.update(text.as_bytes());
            }
        }
    }

    fn messages(&mut self, messages: &[Message]) {
        self.0.update(&(messages.len() as u64).to_le_bytes());
        for message in messages {
            self.text(Some(&message.role));
            self.text(message.content.as_deref());
            self.text(message.name.as_deref());
            self.text(message.tool_calls.as_deref());
            self.text(message.tool_call_id.as_deref());
            self.0.update(&message.weight.map_or(u32::MAX, f32::to_bits).to_le_bytes());
        }
    }

    fn finish(self) -> u128 {
        let mut first = [0; 16];
        first.copy_from_slice(&self.0.finalize().as_bytes()[..16]);
        u128::from_be_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use artifact::Kind;

    fn example(messages: Vec<Message>) -> Example {
        Example {
            id: String::new(),
            kind: Kind::Chat,
            messages,
            tools: None,
            text: None,
            chosen: Vec::new(),
            rejected: Vec::new(),
            source_file: "a".into(),
            source_row: 1,
            extra: Vec::new(),
        }
    }

    #[test]
    fn content_alone_decides() {
        let one = example(vec![Message::new("user", "ab"), Message::new("assistant", "c")]);
        let elsewhere =
            Example { source_file: "b".into(), source_row: 9, extra: vec![Some("x".into())], ..one.clone() };
        let shifted = example(vec![Message::new("user", "a"), Message::new("assistant", "bc")]);
        assert_eq!(identity(&one), identity(&elsewhere));
        assert_ne!(identity(&one), identity(&shifted));
        let weighted = Message { weight: Some(0.0), ..Message::new("assistant", "c") };
        assert_ne!(identity(&one), identity(&example(vec![Message::new("user", "ab"), weighted])));
    }

    #[test]
    fn another_answer_is_the_same_prompt() {
        let ask = |answer: &str| example(vec![Message::new("user", "q"), Message::new("assistant", answer)]);
        assert_eq!(prompt_identity(&ask("a")), prompt_identity(&ask("b")));
        assert_eq!(prompt_identity(&example(vec![Message::new("assistant", "a")])), None);
    }

    #[test]
    fn identities_are_fixed_for_good() {
        // A changed id would move rows between splits of data that people already have.
        let one = example(vec![Message::new("user", "q"), Message::new("assistant", "a")]);
        assert_eq!(hexadecimal(identity(&one)).len(), 32);
        assert_eq!(hexadecimal(identity(&one)), "ece5cd547395566c51f7bb72ea520e96");
    }
}
