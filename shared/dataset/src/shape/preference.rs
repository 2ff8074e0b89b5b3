//! Preference pairs: a prompt with a better and a worse answer, as texts or as turns.

use artifact::{Example, Kind, Message};

use super::prompt_completion::side;
use super::{
    Misfit, TurnKeys, alpaca, blank, check_turns, prepend_system, take, take_optional_text, take_tools, turns,
};
use crate::records::Record;

/// The prompt is `prompt`, `messages`, `conversations` or `instruction` with `input`; without any of them it is what
/// `chosen` and `rejected` have in common at their beginning.
pub(super) fn convert(record: &mut Record, keys: &TurnKeys) -> Result<Example, Misfit> {
    let chosen = take(record, "chosen").ok_or_else(|| Misfit::missing("chosen"))?;
    let rejected = take(record, "rejected").ok_or_else(|| Misfit::missing("rejected"))?;
    let mut chosen = side("chosen", "assistant", chosen, keys)?;
    let mut rejected = side("rejected", "assistant", rejected, keys)?;
    let mut messages = match prompt(record, keys)? {
        Some(messages) => messages,
        None => common_beginning(&chosen, &rejected)?,
    };
    // Some sets repeat the prompt in front of both answers.
    for answer in [&mut chosen, &mut rejected] {
        if answer.len() > messages.len() && answer[..messages.len()] == messages[..] {
            answer.drain(..messages.len());
        }
    }
    prepend_system(record, &mut messages)?;
    for turns in [&messages, &chosen, &rejected] {
        check_turns(turns)?;
    }
    if chosen == rejected {
        return Err(Misfit::bad("`chosen` and `rejected` are the same: there is nothing to prefer"));
    }
    let tools = take_tools(record)?;
    Ok(Example { messages, tools, chosen, rejected, ..blank(Kind::Preference) })
}

fn prompt(record: &mut Record, keys: &TurnKeys) -> Result<Option<Vec<Message>>, Misfit> {
    if let Some(prompt) = take(record, "prompt") {
        return side("prompt", "user", prompt, keys).map(Some);
    }
    for field in ["messages", "conversations"] {
        if let Some(turns) = take(record, field) {
            return turns::parse(field, turns, keys).map(Some);
        }
    }
    let Some(instruction) = take_optional_text(record, "instruction")? else { return Ok(None) };
    let input = take_optional_text(record, "input")?.unwrap_or_default();
    Ok(Some(vec![Message::new("user", alpaca::join(instruction, &input))]))
}

fn common_beginning(chosen: &[Message], rejected: &[Message]) -> Result<Vec<Message>, Misfit> {
    let shorter = chosen.len().min(rejected.len()).saturating_sub(1);
    let common = chosen.iter().zip(rejected).take(shorter).take_while(|(left, right)| left == right).count();
    if common == 0 {
        let detail = "expected a prompt: a field `prompt`, `messages` or `conversations`, or the same first turns in \
                      `chosen` and `rejected`";
        return Err(Misfit { detail: detail.into(), ..Misfit::missing("prompt") });
    }
    Ok(chosen[..common].to_vec())
}
