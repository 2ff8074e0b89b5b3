//! Rules about the order of turns.

use artifact::{Example, Message};

use super::{Finding, Rule, Rules};

pub(super) fn check(example: &Example, rules: Rules, findings: &mut Vec<Finding>) {
    if rules.has(Rule::RepeatedTurn)
        && let Some(detail) = repeated(&example.messages)
    {
        findings.push(Finding::new(Rule::RepeatedTurn, detail));
    }
    // A preference pair's turns end where its answers begin.
    if rules.has(Rule::RoleOrder) && !example.messages.is_empty() {
        let whole: Vec<&Message> = example.messages.iter().chain(example.chosen.iter()).collect();
        if let Some(detail) = out_of_order(&whole) {
            findings.push(Finding::new(Rule::RoleOrder, detail));
        }
    }
}

fn repeated(messages: &[Message]) -> Option<String> {
    let said = |message: &Message| message.content.as_deref().map(str::trim).unwrap_or_default().to_owned();
    for (index, message) in messages.iter().enumerate() {
        let text = said(message);
        if text.is_empty() || message.role == "tool" {
            continue;
        }
        let earlier = messages[..index].iter().enumerate().rev();
        let same = earlier
            .filter(|(at, other)| at + 1 == index || other.role == message.role)
            .take(2)
            .find(|(_, other)| said(other) == text);
        if let Some((at, _)) = same {
            return Some(format!("turn {} ({}) repeats turn {}", index + 1, message.role, at + 1));
        }
    }
    None
}

fn out_of_order(messages: &[&Message]) -> Option<String> {
    let mut before: Option<&Message> = None;
    for (index, message) in messages.iter().enumerate() {
        let number = index + 1;
        let role = message.role.as_str();
        let last = before.map(|before| before.role.as_str());
        let calls = before.is_some_and(|before| before.tool_calls.is_some());
        let wrong = match (last, role) {
            (None, "system" | "user") | (Some("system"), "user") => None,
            (_, "system") => Some("system is not the first turn".to_owned()),
            (None | Some("system"), role) => Some(format!("the first to speak is {role}, not user")),
            (Some("user" | "tool"), "assistant") | (Some("assistant"), "user") => None,
            (Some("tool"), "tool") => None,
            (Some("assistant"), "tool") if calls => None,
            // A call may follow what is said with it.
            (Some("assistant"), "assistant") if message.tool_calls.is_some() => None,
            (Some(last), "tool") => Some(format!("a tool answers {last}, who made no call")),
            (Some(last), role) if last == role => Some(format!("two turns of {role} in a row")),
            (Some(last), role) => Some(format!("{role} follows {last}")),
        };
        if let Some(wrong) = wrong {
            return Some(format!("turn {number}: {wrong}"));
        }
        before = Some(message);
    }
    let last = before?;
    (last.role != "assistant").then(|| format!("the last turn is {}'s, there is no answer to it", last.role))
}
